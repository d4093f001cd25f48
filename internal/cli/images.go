package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/image"
	"github.com/spf13/cobra"

	"berth/internal/cli/format"
	"berth/internal/cli/opts"
	"berth/internal/engine"
	"berth/internal/registry/ref"
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
		list, err := e.ImageList(c.Context(), engine.ImageListOptions{All: *all, Filters: filters})
		if err != nil {
			return err
		}
		if *tree {
			platforms, err := e.ImagePlatforms(c.Context())
			if err != nil {
				return err
			}
			return a.printTree(treeLines(list, platforms, !*noTrunc))
		}
		o := format.Options{Format: *layout, Quiet: *quiet, Key: "ID", Columns: imagesColumns(*digests), Raw: imagesRaw(*digests)}
		if o.Format == "" && !*quiet {
			o.Format = a.clientConfig().ImagesFormat
		}
		return format.Rows(a.env.Stdout, imageRows(list, time.Now(), !*noTrunc, *digests || strings.Contains(o.Format, ".Digest"), *quiet), o)
	}
	return c
}

func imagesColumns(digests bool) []string {
	columns := []string{"Repository", "Tag", "ID", "CreatedSince", "Size"}
	if digests {
		columns = slices.Insert(columns, 2, "Digest")
	}
	return columns
}

func imagesRaw(digests bool) string {
	raw := "repository: {{.Repository}}\ntag: {{.Tag}}\n"
	if digests {
		raw += "digest: {{.Digest}}\n"
	}
	return raw + "image_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
}

// imageRow is an image under one of its names.
type imageRow struct {
	Containers   string
	CreatedAt    string `header:"CREATED AT"`
	CreatedSince string `header:"CREATED"`
	Digest       string
	ID           string `header:"IMAGE ID"`
	Repository   string
	SharedSize   string `header:"SHARED SIZE"`
	Size         string
	Tag          string
	UniqueSize   string `header:"UNIQUE SIZE"`
}

// imageRows makes a row for each name of each image; with digests one for each
// name and digest, and with once a single one for each image.
func imageRows(list []image.Summary, now time.Time, trunc, digests, once bool) []imageRow {
	rows := []imageRow{}
	for _, s := range list {
		base := imageRow{
			ID: s.ID, Containers: notNegative(s.Containers, strconv.FormatInt(s.Containers, 10)),
			CreatedAt: time.Unix(s.Created, 0).String(), CreatedSince: "N/A",
			Size: format.Size(s.Size), SharedSize: notNegative(s.SharedSize, format.Size(s.SharedSize)),
			UniqueSize: notNegative(s.SharedSize, format.Size(s.Size-s.SharedSize)),
		}
		if s.Created > 0 {
			base.CreatedSince = format.Ago(now, time.Unix(s.Created, 0))
		}
		if trunc {
			base.ID = format.ShortID(s.ID)
		}
		named := namedRows(base, s, digests)
		if once {
			named = named[:1]
		}
		rows = append(rows, named...)
	}
	return rows
}

func notNegative(n int64, text string) string {
	if n < 0 {
		return "N/A"
	}
	return text
}

// namedRows gives an image all its names.
func namedRows(base imageRow, s image.Summary, digests bool) []imageRow {
	type repository struct{ tags, digests []string }
	repos := map[string]*repository{}
	var order []string
	get := func(name string) *repository {
		if repos[name] == nil {
			repos[name] = &repository{}
			order = append(order, name)
		}
		return repos[name]
	}
	for _, t := range s.RepoTags {
		if r, err := ref.Parse(t); err == nil && r.Tag != "" {
			repo := get(r.FamiliarName())
			repo.tags = append(repo.tags, r.Tag)
		}
	}
	for _, d := range s.RepoDigests {
		if r, err := ref.Parse(d); err == nil && r.Digest != "" {
			repo := get(r.FamiliarName())
			repo.digests = append(repo.digests, r.Digest)
		}
	}
	var rows []imageRow
	for _, name := range order {
		repo := repos[name]
		tags, hashes := orNone(repo.tags), orNone(repo.digests)
		if !digests {
			hashes = hashes[:1]
		}
		for _, t := range tags {
			for _, d := range hashes {
				row := base
				row.Repository, row.Tag, row.Digest = name, t, d
				rows = append(rows, row)
			}
		}
	}
	if len(rows) == 0 {
		base.Repository, base.Tag, base.Digest = "<none>", "<none>", "<none>"
		rows = append(rows, base)
	}
	return rows
}

// orNone is the list, or Docker's word for an empty one.
func orNone(list []string) []string {
	if len(list) > 0 {
		return list
	}
	return []string{"<none>"}
}
