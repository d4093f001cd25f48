package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// failure is an error with the exit code of the process. Without a text it is
// silent: what there is to say has been said.
type failure struct {
	code int
	text string
	err  error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.err }

// ExitCode is what the process ends with.
func (f *failure) ExitCode() int { return f.code }

// silent ends the process with a code and no word.
func silent(code int) error {
	if code == 0 {
		return nil
	}
	return &failure{code: code}
}

// engineFailure is an error of run and create: exit code 125, unless the
// error knows a better one.
func engineFailure(err error) error {
	var coded interface{ ExitCode() int }
	if err == nil || errors.As(err, &coded) {
		return err
	}
	return &failure{code: 125, text: err.Error(), err: err}
}

// usageFailure says what is wrong with the words of a command and where to
// read about it.
func usageFailure(c *cobra.Command, code int, text string) error {
	return &failure{code: code, text: fmt.Sprintf("%s\n\nUsage:  %s\n\nRun '%s --help' for more information", text, c.UseLine(), c.CommandPath())}
}

// flagError is for an option that cannot be read.
func (a *app) flagError(c *cobra.Command, err error) error {
	text := err.Error()
	if flag, ok := strings.CutPrefix(text, "unknown flag: --"); ok && a.globalFlags(new(settings)).Lookup(flag) != nil {
		text += fmt.Sprintf(" (it comes before the command: %s --%s ... %s)", a.name, flag, strings.TrimPrefix(c.CommandPath(), a.name+" "))
	}
	return usageFailure(c, 125, text)
}

// eachOf calls do for every name and prints each error on its own line. The
// names that went well are printed when show is set.
func (a *app) eachOf(names []string, show bool, do func(name string) error) error {
	failed := false
	for _, n := range names {
		if err := do(n); err != nil {
			failed = true
			a.finish(err)
			continue
		}
		if show {
			if err := a.println(n); err != nil {
				return err
			}
		}
	}
	if failed {
		return silent(1)
	}
	return nil
}

// Checks of the number of words after the options.

func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageFailure(c, 1, fmt.Sprintf("'%s' accepts no arguments", c.CommandPath()))
}

func atLeast(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= n {
			return nil
		}
		return usageFailure(c, 1, fmt.Sprintf("'%s' requires at least %s", c.CommandPath(), arguments(n)))
	}
}

func exactly(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return usageFailure(c, 1, fmt.Sprintf("'%s' requires %s", c.CommandPath(), arguments(n)))
	}
}

func atMost(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return usageFailure(c, 1, fmt.Sprintf("'%s' requires at most %s", c.CommandPath(), arguments(n)))
	}
}

func between(low, high int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= low && len(args) <= high {
			return nil
		}
		return usageFailure(c, 1, fmt.Sprintf("'%s' requires at least %d and at most %s", c.CommandPath(), low, arguments(high)))
	}
}

func arguments(n int) string {
	if n == 1 {
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", n)
}
