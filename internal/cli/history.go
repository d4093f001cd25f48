package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/image"
	"github.com/spf13/cobra"

	"berth/internal/cli/format"
)

// historyCommand is history.
func (a *app) historyCommand() *cobra.Command {
	c := &cobra.Command{Use: "history [OPTIONS] IMAGE", Args: exactly(1)}
	f := c.Flags()
	layout := formatFlag(f)
	human := f.BoolP("human", "H", true, "Print sizes and dates in human readable format")
	noTrunc := f.Bool("no-trunc", false, "Don't truncate output")
	platform := f.String("platform", "", `Show history for the given platform. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")`)
	quiet := f.BoolP("quiet", "q", false, "Only show image IDs")
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		name, err := e.Images().On(c.Context(), args[0], *platform)
		if err != nil {
			return err
		}
		items, err := e.Images().History(c.Context(), name)
		if err != nil {
			return err
		}
		rows := make([]historyRow, 0, len(items))
		now := time.Now()
		for _, it := range items {
			rows = append(rows, newHistoryRow(it, now, !*noTrunc, *human))
		}
		return format.Rows(a.env.Stdout, rows, format.Options{
			Format: *layout, Quiet: *quiet, Key: "ID", Columns: []string{"ID", "CreatedSince", "CreatedBy", "Size", "Comment"},
		})
	}
	return c
}

// historyRow is a step in the making of an image.
type historyRow struct {
	Comment      string
	CreatedAt    string `header:"CREATED AT"`
	CreatedBy    string `header:"CREATED BY"`
	CreatedSince string `header:"CREATED"`
	ID           string `header:"IMAGE"`
	Size         string
}

func newHistoryRow(it image.HistoryResponseItem, now time.Time, trunc, human bool) historyRow {
	created := time.Unix(it.Created, 0)
	r := historyRow{
		ID: it.ID, Comment: it.Comment, CreatedAt: created.Format(time.RFC3339), CreatedSince: created.Format(time.RFC3339),
		CreatedBy: strings.ReplaceAll(it.CreatedBy, "\t", " "), Size: strconv.FormatInt(it.Size, 10),
	}
	if it.Created <= 0 {
		r.CreatedAt, r.CreatedSince = "", "N/A"
	} else if human {
		r.CreatedSince = format.Ago(now, created)
	}
	if human {
		r.Size = format.Size(it.Size)
	}
	if trunc {
		r.ID = format.ShortID(it.ID)
		r.CreatedBy = format.Shorten(r.CreatedBy, 45)
	}
	return r
}
