package images

import (
	"context"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/image"

	"berth/internal/filter"
	"berth/internal/store"
)

// ListOptions chooses images for a listing.
type ListOptions struct {
	All     bool                // images without a tag too
	Filters map[string][]string // before, dangling, label, label!, reference, since, until
}

// List lists images, the newest first.
func (s *Set) List(ctx context.Context, opt ListOptions) ([]image.Summary, error) {
	match, err := s.store.Filter(opt.Filters, "before", "dangling", "label", "label!", "reference", "since", "until")
	if err != nil {
		return nil, imageError(strings.Join(append(opt.Filters["before"], opt.Filters["since"]...), " "), err)
	}
	images, err := s.store.Images()
	if err != nil {
		return nil, err
	}
	users, usersErr := s.Users()
	shares := s.store.Shares(images)
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
		item := image.Summary{
			ID: img.ID, RepoTags: Familiar(names), RepoDigests: Familiar(digests),
			Labels:     img.Config.Config.Labels,
			Containers: int64(len(users.of[img.ID])),
		}
		item.Size, item.SharedSize = shares[img.ID].Size, shares[img.ID].Shared
		if usersErr != nil {
			item.Containers = -1 // a damaged container is no reason to list nothing
		}
		if !img.Created.IsZero() {
			item.Created = img.Created.Unix()
		}
		if item.Labels == nil {
			item.Labels = map[string]string{}
		}
		out = append(out, item)
	}
	return out, nil
}
