package oci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Env is what the program was given by its caller.
type Env struct {
	Stdin, Stdout, Stderr *os.File
	Version               func() string // of this program
}

// app is one use of the command line.
type app struct {
	Env
	name    string // how we were called: "runc", or "berth oci"
	root    string // the folder of all containers
	systemd bool   // control groups are asked of systemd
	// rootless says that what only root may do to control groups is no
	// error: "true", "false" or "auto".
	rootless string
	log      *logger
}

// verb is one of the commands.
type verb struct {
	name     string
	words    string // after the options, for help
	min, max int    // how many of them; max < 0: any number
	first    bool   // options end at the first word
	raw      bool   // run gets the arguments as they are
	help     string
	options  options
	run      func(a *app, words []string) error
}

// exitCode is an error that has been told, or needs no word.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Name is how we call ourselves where nobody has called us runc.
const Name = "berth oci"

// Called tells whether the program was called as a runtime, and how, and
// returns the arguments that are left.
func Called(args []string) (name string, rest []string, ok bool) {
	switch {
	case len(args) > 0 && filepath.Base(args[0]) == "runc":
		return "runc", args[1:], true
	case len(args) > 1 && args[1] == "oci":
		return Name, args[2:], true
	}
	return "", nil, false
}

// Main carries out one command and returns the exit code.
func Main(name string, args []string, env Env) int {
	a := &app{Env: env, name: name, log: &logger{w: env.Stderr}}
	err := a.main(args)
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	a.log.errorf("%v", err)
	if a.log.file {
		fmt.Fprintln(a.Stderr, err)
	}
	if coded := (*codedError)(nil); errors.As(err, &coded) {
		return coded.code
	}
	return 1
}

// codedError ends the program with another code than 1.
type codedError struct {
	error
	code int
}

func (e *codedError) Unwrap() error { return e.error }

func (a *app) main(args []string) error {
	var (
		o                    options
		logFile, format      string
		debug, help, version bool
		unused               string
		words, err           = []string(nil), error(nil)
	)
	a.rootless = "auto"
	o.toggle(&debug, "debug", "write down more")
	o.text(&logFile, "log", "PATH", "where errors and warnings go (default: standard error)")
	o.text(&format, "log-format", "FORMAT", "'text' or 'json' (default: text)")
	o.text(&a.root, "root", "PATH", "folder of the containers' state, best on a tmpfs (default: /run/berth/oci, or below $XDG_RUNTIME_DIR)")
	o.text(&unused, "criu", "PATH", "accepted and not used: checkpoints are not supported")
	o.toggle(&a.systemd, "systemd-cgroup", "control groups by systemd: cgroupsPath is SLICE:PREFIX:NAME")
	o.text(&a.rootless, "rootless", "MODE", "'true' to go on where control groups cannot be had, 'false', or 'auto'")
	o.toggle(&help, "help,h", "show help")
	o.toggle(&version, "version,v", "print the version")
	if words, err = o.parse(args, false); err != nil {
		fmt.Fprintf(a.Stdout, "Incorrect Usage. %v\n\n", err)
		a.overview(a.Stdout, &o)
		return err
	}
	if version {
		a.printVersion(a.Stdout)
		return nil
	}
	if help || len(words) == 0 || words[0] == "help" || words[0] == "h" {
		return a.showHelp(words, &o)
	}
	if a.log, err = newLogger(logFile, format, debug, a.Stderr); err != nil {
		return err
	}
	if a.rootless != "auto" && a.rootless != "true" && a.rootless != "false" {
		return fmt.Errorf("invalid value %q for flag -rootless: it is true, false or auto", a.rootless)
	}
	if a.root == "" {
		a.root = defaultRoot()
	}
	if a.root, err = filepath.Abs(a.root); err != nil {
		return err
	}
	v := find(words[0])
	if v == nil {
		return &codedError{fmt.Errorf("No help topic for '%s'", words[0]), 3}
	}
	return a.do(v, words[1:])
}

// do parses a verb's own options and runs it.
func (a *app) do(v *verb, args []string) error {
	if v.raw {
		return v.run(a, args)
	}
	help := false
	v.options.toggle(&help, "help,h", "show help")
	words, err := v.options.parse(args, !v.first)
	if err == nil && help {
		a.explain(a.Stdout, v)
		return nil
	}
	bad := ""
	if err != nil {
		bad = ": " + err.Error()
	} else if err = v.count(a.name, len(words)); err != nil {
		bad = "."
	}
	if err != nil {
		fmt.Fprintf(a.Stdout, "Incorrect Usage%s\n\n", bad)
		a.explain(a.Stdout, v)
		return err
	}
	return v.run(a, words)
}

// count checks the number of words.
func (v *verb) count(name string, n int) error {
	switch {
	case n >= v.min && (v.max < 0 || n <= v.max):
		return nil
	case v.min == v.max:
		return fmt.Errorf("%s: %q requires exactly %d argument(s)", name, v.name, v.min)
	case n < v.min:
		return fmt.Errorf("%s: %q requires a minimum of %d argument(s)", name, v.name, v.min)
	}
	return fmt.Errorf("%s: %q requires a maximum of %d argument(s)", name, v.name, v.max)
}

// verbs are all commands, in the order of the help.
func verbs() []*verb {
	return []*verb{
		createVerb(), deleteVerb(), eventsVerb(), execVerb(), featuresVerb(), killVerb(), listVerb(),
		pauseVerb(), psVerb(), resumeVerb(), runVerb(), specVerb(), startVerb(), stateVerb(), updateVerb(),
		unsupported("checkpoint"), unsupported("restore"),
	}
}

func find(name string) *verb {
	for _, v := range verbs() {
		if v.name == name {
			return v
		}
	}
	return nil
}

// unsupported answers for what needs CRIU: a program that dumps processes.
func unsupported(name string) *verb {
	v := &verb{name: name, words: "<container-id>", raw: true, help: "not supported"}
	v.run = func(a *app, words []string) error {
		return fmt.Errorf("%s is not supported: %s does not work with CRIU", name, a.name)
	}
	return v
}

func (a *app) showHelp(words []string, o *options) error {
	if len(words) > 1 {
		if v := find(words[1]); v != nil {
			a.explain(a.Stdout, v)
			return nil
		}
		return &codedError{fmt.Errorf("No help topic for '%s'", words[1]), 3}
	}
	a.overview(a.Stdout, o)
	return nil
}

func (a *app) overview(w io.Writer, o *options) {
	fmt.Fprintf(w, "NAME:\n   %s - run containers from OCI bundles, as the command line of runc has it\n\n", a.name)
	fmt.Fprintf(w, "USAGE:\n   %s [global options] command [command options] [arguments...]\n\nVERSION:\n   %s\n\nCOMMANDS:\n", a.name, a.Version())
	for _, v := range verbs() {
		fmt.Fprintf(w, "   %-11s %s\n", v.name, v.help)
	}
	fmt.Fprint(w, "\nGLOBAL OPTIONS:\n")
	o.print(w)
}

func (a *app) explain(w io.Writer, v *verb) {
	usage := strings.Join(strings.Fields(a.name+" "+v.name+" [command options] "+v.words), " ")
	fmt.Fprintf(w, "NAME:\n   %s %s - %s\n\nUSAGE:\n   %s\n", a.name, v.name, v.help, usage)
	if len(v.options.list) > 0 {
		fmt.Fprint(w, "\nOPTIONS:\n")
		v.options.print(w)
	}
}
