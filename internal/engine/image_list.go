package engine

import (
	"context"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/image"

	"berth/internal/filter"
	"berth/internal/store"
)

// ImageListOptions chooses images for a listing.
type ImageListOptions struct {
	All     bool                // images without a tag too
	Filters map[string][]string // before, dangling, label, label!, reference, since, until
}

// ImageList lists images, the newest first.
func (e *Engine) ImageList(ctx context.Context, opt ImageListOptions) ([]image.Summary, error) {
	match, err := e.images.Filter(opt.Filters, "before", "dangling", "label", "label!", "reference", "since", "until")
	if err != nil {
		return nil, imageError(strings.Join(append(opt.Filters["before"], opt.Filters["since"]...), " "), err)
	}
	images, err := e.images.Images()
	if err != nil {
		return nil, err
	}
	users, usersErr := e.imageUsers()
	shares := e.images.Shares(images)
	showDangling := opt.All || slices.ContainsFunc(opt.Filters["dangling"], filter.True)
	var out []image.Summary
	for _, img := range images {
		if !showDangling && len(img.Names) == 0 || !match(img) {
			continue
		}
		names, digests := img.Names, img.RepoDigests
		if patterns := opt.Filters["reference"]; len(patterns) > 0 {
			names, digests = store.Matching(names, patterns), store.Matching(digests, patterns)
		}
		s := image.Summary{
			ID: img.ID, RepoTags: familiar(names), RepoDigests: familiar(digests),
			Labels:     img.Config.Config.Labels,
			Containers: int64(len(users.of[img.ID])),
		}
		s.Size, s.SharedSize = shares[img.ID].Size, shares[img.ID].Shared
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
