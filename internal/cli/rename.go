package cli

import "github.com/spf13/cobra"

// renameCommand is rename.
func (a *app) renameCommand() *cobra.Command {
	c := &cobra.Command{Use: "rename CONTAINER NEW_NAME", Args: exactly(2)}
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		return e.ContainerRename(c.Context(), args[0], args[1])
	}
	return c
}
