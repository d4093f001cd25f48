package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/pflag"

	"berth/internal/cli/opts"
)

// settings are the options before the command.
type settings struct {
	root, configDir  string
	help, version    bool
	hosts, contexts  *opts.List
	debug, tls       bool
	logLevel, unused string
}

// globalFlags declares the options that stand before the command. Docker's own
// are all taken, so that a script that gives them keeps working; those that
// choose another engine are refused.
func (a *app) globalFlags(s *settings) *pflag.FlagSet {
	f := pflag.NewFlagSet(a.name, pflag.ContinueOnError)
	f.SetInterspersed(false)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	s.hosts, s.contexts = opts.NewList("list", a.checkHost), opts.NewList("string", a.checkContext)
	f.StringVar(&s.configDir, "config", "", "Location of client config files (default \"~/.docker\")")
	f.VarP(s.contexts, "context", "c", "Accepted for scripts; only \"default\" exists")
	f.BoolVarP(&s.debug, "debug", "D", false, "Enable debug mode")
	f.VarP(s.hosts, "host", "H", "Refused: there is no daemon to connect to. DOCKER_HOST is not looked at")
	f.StringVarP(&s.logLevel, "log-level", "l", "info", `Set the logging level ("debug", "info", "warn", "error", "fatal")`)
	f.StringVar(&s.root, "root", "", "Where images, containers and volumes are kept (default $BERTH_ROOT, else the account's own place)")
	f.BoolVarP(&s.version, "version", "v", false, "Print version information and quit")
	f.BoolVarP(&s.help, "help", "h", false, "Print usage")
	f.BoolVar(&s.tls, "tls", false, "")
	f.BoolVar(&s.tls, "tlsverify", false, "")
	for _, name := range []string{"tlscacert", "tlscert", "tlskey"} {
		f.StringVar(&s.unused, name, "", "")
	}
	for _, name := range []string{"help", "tls", "tlsverify", "tlscacert", "tlscert", "tlskey"} {
		f.Lookup(name).Hidden = true
	}
	return f
}

func (a *app) checkHost(s string) (string, error) {
	return "", fmt.Errorf("%s runs containers itself and connects to no daemon: leave -H %s away, or use the docker client for that engine", a.name, s)
}

func (a *app) checkContext(s string) (string, error) {
	if s != "default" {
		return "", fmt.Errorf("%s runs containers itself and has no contexts: leave -c %s away", a.name, s)
	}
	return s, nil
}

// parseGlobal reads the options before the command and returns the rest.
func (a *app) parseGlobal(args []string) ([]string, error) {
	f := a.globalFlags(&a.set)
	if err := f.Parse(args); err != nil {
		return nil, &failure{code: 125, text: fmt.Sprintf("%s\n\nUsage:  %[2]s [OPTIONS] COMMAND [ARG...]\n\nRun '%[2]s --help' for more information", err, a.name)}
	}
	if f.Changed("root") && a.set.root == "" {
		return nil, &failure{code: 125, text: "--root needs a folder"}
	}
	return f.Args(), nil
}

// configDir is where the docker client keeps its settings and credentials.
func (a *app) configDir() (string, error) {
	for _, dir := range []string{a.set.configDir, a.getenv("DOCKER_CONFIG")} {
		if dir != "" {
			return dir, nil
		}
	}
	if home := a.getenv("HOME"); home != "" {
		return filepath.Join(home, ".docker"), nil
	}
	return "", errors.New("cannot tell where the settings are: set HOME, or name a folder with --config")
}
