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
	everybody := f.Bool("all-users", false, "Show what runs of all accounts on this machine, as far as they publish it")
	size := f.BoolP("size", "s", false, "Display total file sizes")
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		if *everybody {
			for _, other := range []string{"all", "filter", "last", "latest", "size"} {
				if f.Changed(other) {
					return &failure{code: 1, text: "conflicting options: --all-users shows what runs and is published, and takes no --" + other}
				}
			}
			return a.psAllUsers(e, format.Options{Format: *layout, Quiet: *quiet, Key: "ID", Columns: rows.PublicColumns()}, !*noTrunc)
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

// psAllUsers lists what others may know of everybody's containers.
func (a *app) psAllUsers(e *engine.Engine, o format.Options, trunc bool) error {
	now := time.Now()
	lines := []rows.Public{}
	for _, p := range e.AllUsers() {
		lines = append(lines, rows.NewPublic(p.Owner, p.ID, p.Name, p.Image, p.GPUs, p.Since, p.Summary, now, trunc))
	}
	return format.Rows(a.env.Stdout, lines, o)
}
