package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"berth/internal/cli/format"
	"berth/internal/cli/opts"
	"berth/internal/cli/rows"
	"berth/internal/engine"
)

// psCommand is ps.
func (a *app) psCommand() *cobra.Command {
	c := &cobra.Command{Use: "ps [OPTIONS]", Args: noArgs}
	f := c.Flags()
	var filters opts.Filters
	all := f.BoolP("all", "a", false, "Show all containers (default shows just running)")
	f.VarP(&filters, "filter", "f", "Filter output based on conditions provided")
	layout := formatFlag(f)
	last := f.IntP("last", "n", -1, "Show n last created containers (includes all states)")
	latest := f.BoolP("latest", "l", false, "Show the latest created container (includes all states)")
	noTrunc := f.Bool("no-trunc", false, "Don't truncate output")
	quiet := f.BoolP("quiet", "q", false, "Only display container IDs")
	size := f.BoolP("size", "s", false, "Display total file sizes")
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		o := format.Options{Format: *layout, Quiet: *quiet, Key: "ID", Columns: rows.ContainerColumns(*size)}
		if o.Format == "" && !*quiet {
			o.Format = a.clientConfig().PsFormat
		}
		o.Raw = rows.ContainerRaw(*size)
		if *latest && *last < 1 {
			*last = 1
		}
		list, err := e.ContainerList(c.Context(), engine.ListOptions{
			All: *all, Last: max(0, *last), Size: *size || strings.Contains(o.Format, ".Size") || o.Format == "json", Filters: filters,
		})
		if err != nil {
			return err
		}
		now := time.Now()
		lines := make([]rows.Container, 0, len(list))
		for _, s := range list {
			lines = append(lines, rows.NewContainer(s, now, !*noTrunc))
		}
		return format.Rows(a.env.Stdout, lines, o)
	}
	return c
}
