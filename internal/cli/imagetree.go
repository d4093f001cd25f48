package cli

import (
	"slices"
	"strings"

	"github.com/moby/moby/api/types/image"

	"berth/internal/cli/format"
	"berth/internal/cli/rows"
	"berth/internal/images"
)

// treeLine is a line of images --tree: an image under all its names, or one of
// its platforms.
type treeLine struct{ name, id, disk, content, extra string }

// treeLines lists images by name, those without one last, and below each the
// platforms of it that are here.
func treeLines(list []image.Summary, platforms map[string][]images.Variant, trunc bool) []treeLine {
	id := func(s string) string {
		if trunc {
			return format.ShortID(s)
		}
		return s
	}
	line := func(name string, p images.Variant) treeLine {
		l := treeLine{name: name, id: id(p.ID), disk: format.Size(p.Size + p.Content), content: format.Size(p.Content)}
		if p.InUse {
			l.extra = "U"
		}
		return l
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b image.Summary) int { return strings.Compare(treeKey(a), treeKey(b)) })
	var out []treeLine
	for _, s := range list {
		names := rows.OrNone(slices.Sorted(slices.Values(s.RepoTags)))
		children := platforms[s.ID]
		var top images.Variant
		for _, p := range children {
			top.Size, top.Content, top.InUse = top.Size+p.Size, top.Content+p.Content, top.InUse || p.InUse
		}
		top.ID = s.ID
		for _, n := range names[:len(names)-1] {
			out = append(out, treeLine{name: n})
		}
		out = append(out, line(names[len(names)-1], top))
		for i, p := range children {
			branch := "├─ "
			if i == len(children)-1 {
				branch = "└─ "
			}
			out = append(out, line(branch+p.Platform, p))
		}
	}
	return out
}

// treeKey sorts by the first name; no name comes last.
func treeKey(s image.Summary) string {
	if len(s.RepoTags) == 0 {
		return "\x7f" + s.ID
	}
	return slices.Min(s.RepoTags)
}

// printTree prints images --tree in Docker's columns.
func (a *app) printTree(lines []treeLine) error {
	rows := make([][]string, 0, len(lines))
	for _, l := range lines {
		rows = append(rows, []string{l.name, l.id, l.disk, l.content, l.extra})
	}
	return format.Table(a.env.Stdout, []string{"IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA"}, rows)
}
