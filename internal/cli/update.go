package cli

import (
	"github.com/spf13/cobra"

	"berth/internal/cli/opts"
)

// updateCommand is update.
func (a *app) updateCommand() *cobra.Command {
	c := &cobra.Command{Use: "update [OPTIONS] CONTAINER [CONTAINER...]", Args: atLeast(1)}
	o := opts.RegisterUpdate(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		u, err := o.Build()
		if err != nil {
			return err
		}
		e, err := a.open()
		if err != nil {
			return err
		}
		return a.eachOf(args, true, func(name string) error {
			warnings, err := e.ContainerUpdate(c.Context(), name, u)
			a.warnAll(warnings)
			return err
		})
	}
	return c
}
