package cli

import (
	"github.com/spf13/cobra"

	"berth/internal/cli/opts"
	"berth/internal/engine"
)

// updateCommand is update.
func (a *app) updateCommand() *cobra.Command {
	c := &cobra.Command{Use: "update [OPTIONS] CONTAINER [CONTAINER...]", Args: atLeast(1)}
	o := opts.RegisterUpdate(c.Flags())
	strict := c.Flags().Bool("strict-limits", false, "Change nothing unless all limits can be had")
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
			warnings, err := e.ContainerUpdate(c.Context(), name, engine.UpdateOptions{UpdateConfig: u, StrictLimits: *strict})
			a.warnAll(warnings)
			return err
		})
	}
	return c
}
