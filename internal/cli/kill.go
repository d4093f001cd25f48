package cli

import "github.com/spf13/cobra"

// killCommand is kill.
func (a *app) killCommand() *cobra.Command {
	c := &cobra.Command{Use: "kill [OPTIONS] CONTAINER [CONTAINER...]", Args: atLeast(1)}
	signal := c.Flags().StringP("signal", "s", "", "Signal to send to the container")
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		return a.eachOf(args, true, func(name string) error { return e.ContainerKill(c.Context(), name, *signal) })
	}
	return c
}
