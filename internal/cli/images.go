package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"berth/internal/cli/format"
	"berth/internal/cli/opts"
	"berth/internal/cli/rows"
	"berth/internal/images"
)

// imagesCommand is images.
func (a *app) imagesCommand() *cobra.Command {
	c := &cobra.Command{Use: "images [OPTIONS] [REPOSITORY[:TAG]]", Args: atMost(1)}
	f := c.Flags()
	var filters opts.Filters
	all := f.BoolP("all", "a", false, "Show all images (default hides intermediate images)")
	digests := f.Bool("digests", false, "Show digests")
	f.VarP(&filters, "filter", "f", "Filter output based on conditions provided")
	layout := formatFlag(f)
	noTrunc := f.Bool("no-trunc", false, "Don't truncate output")
	quiet := f.BoolP("quiet", "q", false, "Only show image IDs")
	tree := f.Bool("tree", false, "List multi-platform images as a tree (EXPERIMENTAL)")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *tree {
			for _, other := range []string{"quiet", "digests", "format"} {
				if f.Changed(other) {
					return &failure{code: 1, text: fmt.Sprintf("--%s and --tree cannot be used together", other)}
				}
			}
		}
		if len(args) == 1 {
			if filters == nil {
				filters = opts.Filters{}
			}
			filters["reference"] = append(filters["reference"], args[0])
		}
		e, err := a.open()
		if err != nil {
			return err
		}
		list, err := e.Images().List(c.Context(), images.ListOptions{All: *all, Filters: filters})
		if err != nil {
			return err
		}
		if *tree {
			platforms, err := e.Images().Platforms(c.Context())
			if err != nil {
				return err
			}
			return a.printTree(treeLines(list, platforms, !*noTrunc))
		}
		o := format.Options{Format: *layout, Quiet: *quiet, Key: "ID", Columns: rows.ImageColumns(*digests), Raw: rows.ImageRaw(*digests)}
		if o.Format == "" && !*quiet {
			o.Format = a.clientConfig().ImagesFormat
		}
		return format.Rows(a.env.Stdout, rows.Images(list, time.Now(), !*noTrunc, *digests || strings.Contains(o.Format, ".Digest"), *quiet), o)
	}
	return c
}
