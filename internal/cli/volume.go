package cli

import (
	"slices"
	"strings"

	"github.com/moby/moby/api/types/volume"
	"github.com/spf13/cobra"

	"berth/internal/cli/format"
	"berth/internal/cli/opts"
	"berth/internal/engine"
)

// volumeCreateCommand is volume create.
func (a *app) volumeCreateCommand() *cobra.Command {
	c := &cobra.Command{Use: "create [OPTIONS] [VOLUME]", Args: atMost(1)}
	f := c.Flags()
	driver := f.StringP("driver", "d", "local", "Specify volume driver name")
	labels := opts.NewList("list", opts.Label)
	options := opts.NewList("map", nil)
	f.Var(labels, "label", "Set metadata for a volume")
	f.VarP(options, "opt", "o", "Set driver specific options")
	name := f.String("name", "", "Specify volume name")
	f.Lookup("name").Hidden = true
	clustered := strings.Fields("availability group limit-bytes required-bytes scope secret sharing topology-preferred topology-required type")
	for _, n := range clustered {
		f.String(n, "", "Of cluster volumes")
		f.Lookup(n).Hidden = true
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := refuse(f, clustered...); err != nil {
			return err
		}
		if len(args) == 1 {
			if *name != "" {
				return &failure{code: 1, text: "conflicting options: cannot specify a volume-name through both --name and as a positional arg"}
			}
			*name = args[0]
		}
		e, err := a.open()
		if err != nil {
			return err
		}
		v, err := e.VolumeCreate(c.Context(), engine.VolumeCreateOptions{
			Name: *name, Driver: *driver, Labels: opts.Map(labels.Values()), DriverOpts: opts.Map(options.Values()),
		})
		if err != nil {
			return err
		}
		return a.println(v.Name)
	}
	return c
}

// volumeLsCommand is volume ls.
func (a *app) volumeLsCommand() *cobra.Command {
	c := &cobra.Command{Use: "ls [OPTIONS]", Args: noArgs}
	f := c.Flags()
	var filters opts.Filters
	f.VarP(&filters, "filter", "f", `Provide filter values (e.g. "dangling=true")`)
	layout := formatFlag(f)
	quiet := f.BoolP("quiet", "q", false, "Only display volume names")
	f.Bool("cluster", false, "Display only cluster volumes, and use cluster volume list formatting")
	f.Lookup("cluster").Hidden = true
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := refuse(f, "cluster"); err != nil {
			return err
		}
		e, err := a.open()
		if err != nil {
			return err
		}
		list, err := e.VolumeList(c.Context(), filters)
		if err != nil {
			return err
		}
		a.warnAll(list.Warnings)
		slices.SortFunc(list.Volumes, func(x, y volume.Volume) int { return strings.Compare(x.Name, y.Name) })
		rows := make([]volumeRow, 0, len(list.Volumes))
		for _, v := range list.Volumes {
			rows = append(rows, newVolumeRow(v))
		}
		o := format.Options{Format: *layout, Quiet: *quiet, Key: "Name", Columns: []string{"Driver", "Name"}, Raw: "name: {{.Name}}\ndriver: {{.Driver}}\n"}
		if o.Format == "" && !*quiet {
			o.Format = a.clientConfig().VolumesFormat
		}
		return format.Rows(a.env.Stdout, rows, o)
	}
	return c
}

// volumeRow is a volume in a list.
type volumeRow struct {
	Availability string
	Driver       string
	Group        string
	Labels       string
	Links        string
	Mountpoint   string
	Name         string `header:"VOLUME NAME"`
	Scope        string
	Size         string
	Status       string

	labels map[string]string
}

// Label returns one label of the volume.
func (r volumeRow) Label(name string) string { return r.labels[name] }

func newVolumeRow(v volume.Volume) volumeRow {
	return volumeRow{
		Availability: "N/A", Group: "N/A", Links: "N/A", Size: "N/A", Status: "N/A",
		Driver: v.Driver, Labels: format.Pairs(v.Labels), Mountpoint: v.Mountpoint, Name: v.Name, Scope: v.Scope, labels: v.Labels,
	}
}

// volumeRmCommand is volume rm.
func (a *app) volumeRmCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "rm [OPTIONS] VOLUME [VOLUME...]", Args: atLeast(1),
		Long: "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
	}
	force := c.Flags().BoolP("force", "f", false, "Force the removal of one or more volumes")
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		return a.eachOf(args, true, func(name string) error { return e.VolumeRemove(c.Context(), name, *force) })
	}
	return c
}
