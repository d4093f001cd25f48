package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"berth/internal/cli/format"
	"berth/internal/cli/opts"
	"berth/internal/images"
)

// maxSearch is the most results that Docker lets be asked for.
const maxSearch = 100

// searchCommand is search.
func (a *app) searchCommand() *cobra.Command {
	c := &cobra.Command{Use: "search [OPTIONS] TERM", Args: exactly(1)}
	f := c.Flags()
	var filters opts.Filters
	f.VarP(&filters, "filter", "f", "Filter output based on conditions provided")
	layout := formatFlag(f)
	limit := f.Int("limit", 0, "Max number of search results")
	noTrunc := f.Bool("no-trunc", false, "Don't truncate output")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *limit < 0 || *limit > maxSearch {
			return &failure{code: 1, text: fmt.Sprintf("limit %d is outside the range of [1, %d]", *limit, maxSearch)}
		}
		keep, err := searchFilter(filters)
		if err != nil {
			return err
		}
		e, err := a.openToPull()
		if err != nil {
			return err
		}
		ctx, g := a.watch(c.Context())
		defer g.stop()
		found, err := e.Images().Search(ctx, images.SearchOptions{Term: args[0], Limit: *limit})
		if left := g.leave(); left != nil {
			return left
		}
		if err != nil {
			return err
		}
		return format.Rows(a.env.Stdout, searchRows(found, keep, !*noTrunc), format.Options{
			Format: *layout, Columns: []string{"Name", "Description", "StarCount", "IsOfficial"},
		})
	}
	return c
}

// searchRow is a repository that was found.
type searchRow struct {
	Description string
	IsAutomated string `header:"AUTOMATED"`
	IsOfficial  string `header:"OFFICIAL"`
	Name        string
	StarCount   string `header:"STARS"`
}

func searchRows(found []images.SearchResult, keep func(images.SearchResult) bool, trunc bool) []searchRow {
	rows := []searchRow{}
	for _, r := range found {
		if !keep(r) {
			continue
		}
		row := searchRow{Name: r.Name, Description: strings.Join(strings.Fields(r.Description), " "), StarCount: strconv.Itoa(r.Stars)}
		if trunc {
			row.Description = format.Shorten(row.Description, 45)
		}
		if r.Official {
			row.IsOfficial = "[OK]"
		}
		rows = append(rows, row)
	}
	return rows
}

// searchFilter reads the conditions of --filter.
func searchFilter(f opts.Filters) (keep func(images.SearchResult) bool, err error) {
	stars := 0
	official := map[bool]bool{true: true, false: true}
	none := false
	for key, values := range f {
		for _, v := range values {
			switch key {
			case "stars":
				n, err := strconv.Atoi(v)
				if err != nil {
					return nil, &failure{code: 1, text: fmt.Sprintf("invalid filter 'stars=%s'", v)}
				}
				stars = max(stars, n)
			case "is-official", "is-automated":
				yes, err := strconv.ParseBool(v)
				if err != nil {
					return nil, &failure{code: 1, text: fmt.Sprintf("invalid filter '%s=%s'", key, v)}
				}
				if key == "is-official" {
					official[!yes] = false
				} else {
					none = none || yes // no repository is any more
				}
			default:
				return nil, &failure{code: 1, text: fmt.Sprintf("invalid filter '%s'", key)}
			}
		}
	}
	return func(r images.SearchResult) bool { return !none && r.Stars >= stars && official[r.Official] }, nil
}
