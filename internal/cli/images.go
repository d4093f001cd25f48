package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/image"
	"github.com/spf13/cobra"

	"berth/internal/cli/format"
	"berth/internal/cli/opts"
	"berth/internal/cli/rows"
	"berth/internal/engine"
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
		withDigests := *digests || strings.Contains(o.Format, ".Digest")
		lines := rows.Images(list, time.Now(), !*noTrunc, withDigests, *quiet)
		if !others(filters) {
			shared := a.sharedRows(e, list, filters["reference"], !*noTrunc, withDigests, *quiet)
			if len(shared) > 0 {
				lines, o.Columns = append(lines, shared...), append(o.Columns, "Store")
			}
		}
		return format.Rows(a.env.Stdout, lines, o)
	}
	return c
}

// others reports whether there are filters beside that for names, which are
// about what only images of one's own have.
func others(filters opts.Filters) bool {
	return len(filters) > 1 || len(filters) == 1 && filters["reference"] == nil
}

// sharedRows are the images of folders that everybody uses, unless the account
// has them itself. A folder that cannot be read is no reason to list nothing.
func (a *app) sharedRows(e *engine.Engine, own []image.Summary, patterns []string, trunc, digests, once bool) (out []rows.Image) {
	list, unread := e.Images().Shared(patterns)
	for _, err := range unread {
		a.warn(err.Error())
	}
	for _, s := range list {
		if slices.ContainsFunc(own, func(o image.Summary) bool { return o.ID == s.ID && slices.Contains(o.RepoTags, s.RepoTags[0]) }) {
			continue
		}
		lines := rows.Images([]image.Summary{s.Summary}, time.Now(), trunc, digests, once)
		for i := range lines {
			lines[i].Store = s.Store + " (read-only)"
		}
		out = append(out, lines...)
	}
	return out
}
