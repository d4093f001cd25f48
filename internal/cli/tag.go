package cli

import "github.com/spf13/cobra"

// tagCommand is tag.
func (a *app) tagCommand() *cobra.Command {
	c := &cobra.Command{Use: "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", Args: exactly(2)}
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		return e.Images().Tag(c.Context(), args[0], args[1])
	}
	return c
}
