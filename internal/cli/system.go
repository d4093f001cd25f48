package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"berth/internal/cli/format"
	"berth/internal/cli/rows"
	"berth/internal/engine"
)

// dfCommand is system df.
func (a *app) dfCommand() *cobra.Command {
	c := &cobra.Command{Use: "df [OPTIONS]", Args: noArgs}
	f := c.Flags()
	layout := formatFlag(f)
	verbose := f.BoolP("verbose", "v", false, "Show detailed information on space usage")
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		u, err := e.SystemDF(c.Context())
		if err != nil {
			return err
		}
		if *verbose {
			return a.printUsage(u, *layout)
		}
		return format.Rows(a.env.Stdout, dfRows(u), format.Options{
			Format: *layout, Columns: []string{"Type", "TotalCount", "Active", "Size", "Reclaimable"},
			Raw: "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n",
		})
	}
	return c
}

// dfRow is the room that things of one kind take.
type dfRow struct {
	Active      string
	Reclaimable string
	Size        string
	TotalCount  string `header:"TOTAL"`
	Type        string
}

func newDfRow(kind string, count, active, size, reclaimable int64) dfRow {
	r := dfRow{Type: kind, TotalCount: strconv.FormatInt(count, 10), Active: strconv.FormatInt(active, 10),
		Size: format.HumanSize(uint64(size)), Reclaimable: format.HumanSize(uint64(reclaimable))}
	if size > 0 {
		r.Reclaimable += fmt.Sprintf(" (%d%%)", reclaimable*100/size)
	}
	return r
}

// dfRows are Docker's four, and one for what is left of downloads.
func dfRows(u engine.DiskUsage) []dfRow {
	var busy, size, idle int64
	for _, d := range u.Downloads {
		size += d.Have
		if d.Busy {
			busy++
		} else {
			idle += d.Have
		}
	}
	i, c, v := u.ImageUsage, u.ContainerUsage, u.VolumeUsage
	return []dfRow{
		newDfRow("Images", i.TotalCount, i.ActiveCount, i.TotalSize, i.Reclaimable),
		newDfRow("Containers", c.TotalCount, c.ActiveCount, c.TotalSize, c.Reclaimable),
		newDfRow("Local Volumes", v.TotalCount, v.ActiveCount, v.TotalSize, v.Reclaimable),
		newDfRow("Build Cache", 0, 0, 0, 0),
		newDfRow("Downloads", int64(len(u.Downloads)), busy, size, idle),
	}
}

// downloadRow is what is left of a download.
type downloadRow struct {
	Busy   string `header:"IN USE"`
	Digest string
	Have   string
	Since  string `header:"LAST WRITTEN"`
	Size   string
}

// usageLists is what a template for -v may name.
type usageLists struct {
	Images     []rows.Image
	Containers []rows.Container
	Volumes    []volumeRow
	BuildCache []struct{}
	Downloads  []downloadRow
}

func newUsageLists(u engine.DiskUsage, now time.Time, trunc bool) usageLists {
	l := usageLists{Images: rows.Images(u.ImageUsage.Items, now, trunc, false, true), BuildCache: []struct{}{}}
	for _, c := range u.ContainerUsage.Items {
		c.SizeRootFs = 0
		l.Containers = append(l.Containers, rows.NewContainer(c, now, trunc))
	}
	for _, v := range u.VolumeUsage.Items {
		row := newVolumeRow(v)
		if d := v.UsageData; d != nil {
			row.Links, row.Size = strconv.FormatInt(d.RefCount, 10), format.HumanSize(uint64(d.Size))
		}
		l.Volumes = append(l.Volumes, row)
	}
	for _, d := range u.Downloads {
		l.Downloads = append(l.Downloads, downloadRow{
			Busy: strconv.FormatBool(d.Busy), Digest: d.Digest, Have: format.Size(d.Have),
			Since: format.Ago(now, d.Modified), Size: format.Size(d.Size),
		})
	}
	return l
}

// printUsage prints everything that takes room, in Docker's sections.
func (a *app) printUsage(u engine.DiskUsage, layout string) error {
	table := layout == "" || layout == "table"
	l := newUsageLists(u, time.Now(), table)
	if !table {
		return format.One(a.env.Stdout, layout, l)
	}
	if err := section(a, "Images space usage:", l.Images, "Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"); err != nil {
		return err
	}
	if err := section(a, "\nContainers space usage:", l.Containers, "ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"); err != nil {
		return err
	}
	if err := section(a, "\nLocal Volumes space usage:", l.Volumes, "Name", "Links", "Size"); err != nil {
		return err
	}
	if err := a.println("\nBuild cache usage: 0B\n"); err != nil {
		return err
	}
	if err := format.Table(a.env.Stdout, []string{"CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED"}, nil); err != nil {
		return err
	}
	return section(a, "\nDownloads space usage:", l.Downloads, "Digest", "Have", "Size", "Since", "Busy")
}

func section[T any](a *app, title string, rows []T, columns ...string) error {
	if err := a.println(title + "\n"); err != nil {
		return err
	}
	return format.Rows(a.env.Stdout, rows, format.Options{Columns: columns})
}
