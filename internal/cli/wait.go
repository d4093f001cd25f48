package cli

import (
	"strconv"

	"github.com/spf13/cobra"
)

// waitCommand is wait.
func (a *app) waitCommand() *cobra.Command {
	c := &cobra.Command{Use: "wait CONTAINER [CONTAINER...]", Args: atLeast(1)}
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		return a.eachOf(args, false, func(name string) error {
			code, err := e.ContainerWait(c.Context(), name)
			if err != nil {
				return err
			}
			return a.println(strconv.Itoa(code))
		})
	}
	return c
}
