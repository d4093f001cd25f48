package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"berth/internal/engine"
)

// rmCommand is rm.
func (a *app) rmCommand() *cobra.Command {
	c := &cobra.Command{Use: "rm [OPTIONS] CONTAINER [CONTAINER...]", Args: atLeast(1)}
	f := c.Flags()
	force := f.BoolP("force", "f", false, "Force the removal of a running container (uses SIGKILL)")
	f.BoolP("link", "l", false, "Remove the specified link")
	volumes := f.BoolP("volumes", "v", false, "Remove anonymous volumes associated with the container")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := refuse(f, "link"); err != nil {
			return err
		}
		e, err := a.open()
		if err != nil {
			return err
		}
		defer e.Sweep(c.Context())
		return a.eachOf(args, false, func(name string) error {
			err := e.ContainerRemove(c.Context(), name, engine.RemoveOptions{Force: *force, Volumes: *volumes})
			if *force && errors.Is(err, engine.ErrNotFound) {
				a.finish(err) // worth a word, but what was wanted is so
				return nil
			}
			if err != nil {
				return err
			}
			return a.println(name)
		})
	}
	return c
}
