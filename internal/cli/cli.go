package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"berth/internal/doctor"
	"berth/internal/engine"
	"berth/internal/remote"
	"berth/internal/version"
)

// Env is what a command sees of the process it runs in.
type Env struct {
	Stdin, Stdout, Stderr *os.File
	LookupEnv             func(name string) (value string, set bool) // nil is os.LookupEnv
}

// app is one call of the program.
type app struct {
	env  Env
	name string // what we were called by: berth or docker
	set  settings

	client *clientConfig // once it was read
}

// Main carries out one command and returns the exit code. args[0] is the name
// that the program was called by.
func Main(ctx context.Context, args []string, env Env) int {
	if env.LookupEnv == nil {
		env.LookupEnv = os.LookupEnv
	}
	a := &app{env: env, name: "berth"}
	if len(args) > 0 && filepath.Base(args[0]) == "docker" {
		a.name = "docker"
	}
	// Scripts ask for the version before anything else, and often.
	if len(args) == 2 && (args[1] == "-v" || args[1] == "--version") {
		a.printVersion()
		return 0
	}
	var rest []string
	if len(args) > 1 {
		rest = args[1:]
	}
	return a.finish(a.dispatch(ctx, rest))
}

// finish prints what went wrong and chooses the exit code.
func (a *app) finish(err error) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) {
		return 128 + int(syscall.SIGINT) // whoever pressed Ctrl-C knows
	}
	code := 1
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		code = coded.ExitCode()
	}
	if text := err.Error(); text != "" {
		fmt.Fprintf(a.env.Stderr, "%s: %s\n", a.name, text)
	}
	return code
}

// open opens the engine.
func (a *app) open() (*engine.Engine, error) {
	return engine.Open(engine.Options{Root: a.set.root, Later: a.later, Tell: a.warn})
}

// openToPull opens the engine for a command that may need an image which is
// not here.
func (a *app) openToPull() (*engine.Engine, error) {
	p := remote.New(remote.Request{Program: a.name, Version: version.Get().Version, DockerConfig: a.set.configDir})
	return engine.Open(engine.Options{Root: a.set.root, Later: a.later, Tell: a.warn, Remote: p})
}

// dispatch finds the command that args ask for, builds it and runs it.
func (a *app) dispatch(ctx context.Context, args []string) error {
	rest, err := a.parseGlobal(args)
	if err != nil {
		return err
	}
	switch {
	case a.set.version:
		a.printVersion()
		return nil
	case a.set.help || len(rest) == 0:
		a.helpRoot()
		return nil
	}
	if rest[0] == "help" {
		return a.helpFor(rest[1:])
	}
	if rest[0] == removeWord && len(rest) == 2 {
		return a.removeCommand(rest[1])
	}
	if rest[0] == doctor.ProbeWord {
		return silent(doctor.Probe(rest[1:], a.env.Stdout))
	}
	v, path, err := a.lookup(rest)
	if err != nil {
		return err
	}
	if v == nil {
		a.helpNoun(path)
		return nil
	}
	root, _ := a.build(v, path)
	root.SetArgs(rest)
	return root.ExecuteContext(ctx)
}

// build makes the command for a verb below the path it was called by.
func (a *app) build(v *verb, path string) (root, leaf *cobra.Command) {
	root = &cobra.Command{Use: a.name, SilenceErrors: true, SilenceUsage: true}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true, Use: "no-help"})
	root.SetFlagErrorFunc(a.flagError)
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { a.helpVerb(c, v) })
	root.SetOut(a.env.Stdout)
	root.SetErr(a.env.Stderr)
	parent := root
	noun, name, nested := cutWord(path)
	if nested {
		parent = &cobra.Command{Use: noun}
		root.AddCommand(parent)
	} else {
		name = path
	}
	leaf = v.make(a)
	leaf.Use = name + afterWord(leaf.Use)
	leaf.Short = v.short
	leaf.DisableFlagsInUseLine = true
	if leaf.Flags().Lookup("help") == nil {
		leaf.Flags().BoolP("help", "h", false, "Print usage")
		leaf.Flags().Lookup("help").Hidden = true
	}
	parent.AddCommand(leaf)
	return root, leaf
}

// warn prints a line that starts with WARNING.
func (a *app) warn(text string) { fmt.Fprintf(a.env.Stderr, "WARNING: %s\n", text) }

// println prints a line of result.
func (a *app) println(text string) error {
	_, err := io.WriteString(a.env.Stdout, text+"\n")
	return err
}

// getenv returns a variable of the caller's, empty when it is not set.
func (a *app) getenv(name string) string {
	v, _ := a.env.LookupEnv(name)
	return v
}
