package cli

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"
)

// diffCommand is diff.
func (a *app) diffCommand() *cobra.Command {
	c := &cobra.Command{Use: "diff CONTAINER", Args: exactly(1), Long: "Inspect changes to files or directories on a container's filesystem"}
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		list, err := e.ContainerDiff(c.Context(), args[0])
		if err != nil {
			return err
		}
		w := bufio.NewWriter(a.env.Stdout)
		for _, d := range list {
			fmt.Fprintf(w, "%c %s\n", d.Kind, d.Path)
		}
		return w.Flush()
	}
	return c
}
