package cli

import (
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// topCommand is top.
func (a *app) topCommand() *cobra.Command {
	c := &cobra.Command{Use: "top CONTAINER [ps OPTIONS]", Args: atLeast(1)}
	c.Flags().SetInterspersed(false)
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		top, err := e.ContainerTop(c.Context(), args[0], args[1:])
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(a.env.Stdout, 20, 1, 3, ' ', 0)
		for _, line := range append([][]string{top.Titles}, top.Processes...) {
			if _, err := w.Write([]byte(strings.Join(line, "\t") + "\n")); err != nil {
				return err
			}
		}
		return w.Flush()
	}
	return c
}
