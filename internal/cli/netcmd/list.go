package netcmd

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	api "github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"

	"berth/internal/cli/format"
	"berth/internal/cli/opts"
	"berth/internal/engine"
)

// List is network ls.
func (a Face) List() *cobra.Command {
	c := &cobra.Command{Use: "ls [OPTIONS]", Args: a.Words(0, 0)}
	f := c.Flags()
	var filters opts.Filters
	f.VarP(&filters, "filter", "f", `Provide filter values (e.g. "driver=bridge")`)
	layout := a.FormatFlag(f)
	whole := f.Bool("no-trunc", false, "Do not truncate the output")
	quiet := f.BoolP("quiet", "q", false, "Only display network IDs")
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.Open()
		if err != nil {
			return err
		}
		list, err := e.Networks().List(c.Context(), filters)
		if err != nil {
			return err
		}
		rows := make([]row, 0, len(list))
		for _, n := range list {
			rows = append(rows, newRow(n.Network, *whole))
		}
		o := format.Options{
			Format: *layout, Quiet: *quiet, Key: "ID", Columns: []string{"ID", "Name", "Driver", "Scope"},
			Raw: "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
		}
		if o.Format == "" && !*quiet {
			o.Format = a.ListFormat()
		}
		return format.Rows(a.Stdout, rows, o)
	}
	return c
}

// row is a network in a list.
type row struct {
	CreatedAt string
	Driver    string
	ID        string `header:"NETWORK ID"`
	IPv4      string
	IPv6      string
	Internal  string
	Labels    string
	Name      string
	Scope     string

	labels map[string]string
}

// Label returns one label of the network.
func (r row) Label(name string) string { return r.labels[name] }

func newRow(n api.Network, whole bool) row {
	id := n.ID
	if !whole {
		id = format.ShortID(id)
	}
	return row{
		CreatedAt: n.Created.String(), Driver: n.Driver, ID: id, IPv4: strconv.FormatBool(n.EnableIPv4), IPv6: strconv.FormatBool(n.EnableIPv6),
		Internal: strconv.FormatBool(n.Internal), Labels: format.Pairs(n.Labels), Name: n.Name, Scope: n.Scope, labels: n.Labels,
	}
}

// Remove is network rm.
func (a Face) Remove() *cobra.Command {
	c := &cobra.Command{Use: "rm NETWORK [NETWORK...]", Args: a.Words(1, -1)}
	force := c.Flags().BoolP("force", "f", false, "Do not error if the network does not exist")
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.Open()
		if err != nil {
			return err
		}
		return a.EachOf(args, func(name string) error {
			err := e.Networks().Remove(c.Context(), name)
			if *force && errors.Is(err, engine.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			return a.Print(name)
		})
	}
	return c
}

// Prune is network prune.
func (a Face) Prune() *cobra.Command {
	c := &cobra.Command{Use: "prune [OPTIONS]", Args: a.Words(0, 0)}
	f := c.Flags()
	var filters opts.Filters
	f.Var(&filters, "filter", `Provide filter values (e.g. "until=<timestamp>")`)
	force := f.BoolP("force", "f", false, "Do not prompt for confirmation")
	c.RunE = func(c *cobra.Command, args []string) error {
		if !*force && !a.Confirm("This will remove all custom networks not used by at least one container.") {
			return nil
		}
		e, err := a.Open()
		if err != nil {
			return err
		}
		rep, err := e.Networks().Prune(c.Context(), filters)
		if len(rep.NetworksDeleted) > 0 {
			err = errors.Join(a.Print(fmt.Sprintf("Deleted Networks:\n%s\n", strings.Join(rep.NetworksDeleted, "\n"))), err)
		}
		return err
	}
	return c
}
