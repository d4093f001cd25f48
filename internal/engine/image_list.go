package engine

import (
	"context"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/moby/moby/api/types/image"

	"berth/internal/registry/ref"
	"berth/internal/store"
)

// ImageListOptions chooses images for a listing.
type ImageListOptions struct {
	All     bool                // images without a tag too
	Filters map[string][]string // before, dangling, label, label!, reference, since, until
}

// ImageList lists images, the newest first.
func (e *Engine) ImageList(ctx context.Context, opt ImageListOptions) ([]image.Summary, error) {
	match, err := e.imageFilter(opt.Filters, "before", "dangling", "label", "label!", "reference", "since", "until")
	if err != nil {
		return nil, err
	}
	images, err := e.images.Images()
	if err != nil {
		return nil, err
	}
	users, usersErr := e.imageUsers()
	showDangling := opt.All || slices.ContainsFunc(opt.Filters["dangling"], isTrue)
	var out []image.Summary
	for _, img := range images {
		if !showDangling && len(img.Names) == 0 || !match(img) {
			continue
		}
		names, digests := img.Names, img.RepoDigests
		if patterns := opt.Filters["reference"]; len(patterns) > 0 {
			names, digests = matching(names, patterns), matching(digests, patterns)
		}
		s := image.Summary{
			ID: img.ID, RepoTags: familiar(names), RepoDigests: familiar(digests),
			Size: e.images.LayerSize(img), SharedSize: -1, Labels: img.Config.Config.Labels,
			Containers: int64(len(users.of[img.ID])),
		}
		if usersErr != nil {
			s.Containers = -1 // a damaged container is no reason to list nothing
		}
		if !img.Created.IsZero() {
			s.Created = img.Created.Unix()
		}
		if s.Labels == nil {
			s.Labels = map[string]string{}
		}
		out = append(out, s)
	}
	return out, nil
}

// matching returns the names that fit one of Docker's patterns, which speak of
// familiar names with or without a tag.
func matching(names, patterns []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		r, err := ref.Parse(name)
		return err != nil || !slices.ContainsFunc(patterns, func(p string) bool {
			full, _ := path.Match(p, r.Familiar())
			bare, _ := path.Match(p, r.FamiliarName())
			return full || bare || p == r.String() || p == r.Name()
		})
	})
}

// imageFilter compiles filters to one test. Several values of a key are
// alternatives, but labels must all be there.
func (e *Engine) imageFilter(filters map[string][]string, known ...string) (func(store.Image) bool, error) {
	var tests []func(store.Image) bool
	add := func(t func(store.Image) bool) { tests = append(tests, t) }
	for key, values := range filters {
		if !slices.Contains(known, key) {
			return nil, &Error{Kind: ErrInvalid, Text: fmt.Sprintf("invalid filter '%s'", key)}
		}
		for _, v := range values {
			switch key {
			case "label":
				add(func(i store.Image) bool { return hasLabel(i.Config.Config.Labels, v) })
			case "label!":
				add(func(i store.Image) bool { return !hasLabel(i.Config.Config.Labels, v) })
			case "before", "since", "until":
				t, err := e.ageOfImages(key, v)
				if err != nil {
					return nil, err
				}
				add(t)
			case "dangling":
				if !isTrue(v) && !isFalse(v) {
					return nil, &Error{Kind: ErrInvalid, Text: fmt.Sprintf("invalid filter 'dangling=[%s]'", v)}
				}
				add(func(i store.Image) bool { return (len(i.Names) == 0) == isTrue(v) })
			case "reference":
				if _, err := path.Match(v, ""); err != nil {
					return nil, &Error{Kind: ErrInvalid, Text: fmt.Sprintf("invalid filter 'reference=%s': %v", v, err)}
				}
			}
		}
		if key == "reference" && len(values) > 0 {
			add(func(i store.Image) bool {
				return len(matching(i.Names, values))+len(matching(i.RepoDigests, values)) > 0
			})
		}
	}
	return func(i store.Image) bool {
		for _, t := range tests {
			if !t(i) {
				return false
			}
		}
		return true
	}, nil
}

// ageOfImages tests when an image was made, compared with another or a time.
func (e *Engine) ageOfImages(key, v string) (func(store.Image) bool, error) {
	var t time.Time
	if key == "until" {
		var err error
		if t, err = parseUntil(v); err != nil {
			return nil, err
		}
	} else {
		other, err := e.image(v)
		if err != nil {
			return nil, err
		}
		t = other.Created
	}
	return func(i store.Image) bool {
		if key == "since" {
			return i.Created.After(t)
		}
		return i.Created.Before(t)
	}, nil
}
