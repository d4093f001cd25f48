package rows

import (
	"slices"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/image"

	"berth/internal/cli/format"
	"berth/internal/registry/ref"
)

// ImageColumns are those of the plain table.
func ImageColumns(digests bool) []string {
	columns := []string{"Repository", "Tag", "ID", "CreatedSince", "Size"}
	if digests {
		columns = slices.Insert(columns, 2, "Digest")
	}
	return columns
}

// ImageRaw is the template behind --format raw.
func ImageRaw(digests bool) string {
	raw := "repository: {{.Repository}}\ntag: {{.Tag}}\n"
	if digests {
		raw += "digest: {{.Digest}}\n"
	}
	return raw + "image_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
}

// Image is an image under one of its names.
type Image struct {
	Containers   string
	CreatedAt    string `header:"CREATED AT"`
	CreatedSince string `header:"CREATED"`
	Digest       string
	ID           string `header:"IMAGE ID"`
	Repository   string
	SharedSize   string `header:"SHARED SIZE"`
	Size         string
	Store        string `json:",omitempty"` // a folder that is everybody's and only read
	Tag          string
	UniqueSize   string `header:"UNIQUE SIZE"`
}

// Images makes a row for each name of each image; with digests one for each
// name and digest, and with once a single one for each image.
func Images(list []image.Summary, now time.Time, trunc, digests, once bool) []Image {
	rows := []Image{}
	for _, s := range list {
		base := Image{
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
func namedRows(base Image, s image.Summary, digests bool) []Image {
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
	var rows []Image
	for _, name := range order {
		repo := repos[name]
		tags, hashes := OrNone(repo.tags), OrNone(repo.digests)
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

// OrNone is the list, or Docker's word for an empty one.
func OrNone(list []string) []string {
	if len(list) > 0 {
		return list
	}
	return []string{"<none>"}
}
