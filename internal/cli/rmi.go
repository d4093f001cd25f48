package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"berth/internal/engine"
	"berth/internal/images"
)

// rmiCommand is rmi.
func (a *app) rmiCommand() *cobra.Command {
	c := &cobra.Command{Use: "rmi [OPTIONS] IMAGE [IMAGE...]", Args: atLeast(1)}
	f := c.Flags()
	force := f.BoolP("force", "f", false, "Force removal of the image")
	noPrune := f.Bool("no-prune", false, "Do not delete untagged parents")
	platforms := f.StringSlice("platform", nil, `Remove only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")`)
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		return a.eachOf(args, false, func(name string) error {
			gone, err := e.Images().Remove(c.Context(), name, images.RemoveOptions{Force: *force, NoPrune: *noPrune, Platforms: *platforms})
			if *force && errors.Is(err, engine.ErrNotFound) {
				a.finish(err)
				return nil
			}
			if err != nil {
				return err
			}
			for _, g := range gone {
				line := "Untagged: " + g.Untagged
				if g.Deleted != "" {
					line = "Deleted: " + g.Deleted
				}
				if err := a.println(line); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return c
}
