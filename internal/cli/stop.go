package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"berth/internal/engine"
)

// stopCommand is stop.
func (a *app) stopCommand() *cobra.Command {
	return a.stopLike("stop", (*engine.Engine).ContainerStop)
}

// restartCommand is restart.
func (a *app) restartCommand() *cobra.Command {
	return a.stopLike("restart", (*engine.Engine).ContainerRestart)
}

// stopLike is a command that stops containers with a signal and a time to
// wait.
func (a *app) stopLike(name string, do func(*engine.Engine, context.Context, string, engine.StopOptions) error) *cobra.Command {
	c := &cobra.Command{Use: name + " [OPTIONS] CONTAINER [CONTAINER...]", Args: atLeast(1)}
	f := c.Flags()
	signal := f.StringP("signal", "s", "", "Signal to send to the container")
	timeout := f.IntP("timeout", "t", 0, "Seconds to wait before killing the container")
	// The name it had for ten years.
	f.IntVar(timeout, "time", 0, "Seconds to wait before killing the container")
	f.Lookup("time").Hidden = true
	c.RunE = func(c *cobra.Command, args []string) error {
		if c.Flags().Changed("time") && c.Flags().Changed("timeout") {
			return &failure{code: 1, text: "conflicting options: cannot specify both --timeout and --time"}
		}
		e, err := a.open()
		if err != nil {
			return err
		}
		opt := engine.StopOptions{Signal: *signal}
		c.Flags().Visit(func(f *pflag.Flag) {
			if f.Name == "time" || f.Name == "timeout" {
				opt.Timeout = timeout
			}
		})
		return a.eachOf(args, true, func(name string) error { return plainCode(do(e, c.Context(), name, opt)) })
	}
	return c
}
