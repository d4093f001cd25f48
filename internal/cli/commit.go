package cli

import (
	"github.com/spf13/cobra"

	"berth/internal/cli/opts"
	"berth/internal/engine"
)

// commitCommand is commit.
func (a *app) commitCommand() *cobra.Command {
	c := &cobra.Command{Use: "commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]", Args: between(1, 2)}
	f := c.Flags()
	author := f.StringP("author", "a", "", `Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")`)
	changes := opts.NewList("list", nil)
	f.VarP(changes, "change", "c", "Apply Dockerfile instruction to the created image")
	message := f.StringP("message", "m", "", "Commit message")
	pause := f.BoolP("pause", "p", true, "Pause container during commit")
	noPause := f.Bool("no-pause", false, "Disable pausing container during commit")
	f.Lookup("no-pause").Hidden = true
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		opt := engine.CommitOptions{Author: *author, Message: *message, Changes: changes.Values(), Pause: *pause && !*noPause}
		if f.Changed("pause") {
			// Who did not ask for it need not hear that it cannot be had.
			opt.Warn = a.warn
		}
		if len(args) == 2 {
			opt.Name = args[1]
		}
		id, err := e.ContainerCommit(c.Context(), args[0], opt)
		if err != nil {
			return err
		}
		return a.println(id)
	}
	return c
}
