package images

import (
	"context"

	"github.com/moby/moby/api/types/image"

	"berth/internal/store"
)

// Usage adds up the room that images take, and how much of it no container needs.
func (s *Set) Usage(ctx context.Context) (*image.DiskUsage, error) {
	items, err := s.List(ctx, ListOptions{All: true})
	if err != nil {
		return nil, err
	}
	users, err := s.Users()
	if err != nil {
		return nil, err
	}
	active := map[string]bool{}
	for id := range users.of {
		active[id] = true
	}
	u := &image.DiskUsage{Items: items, TotalCount: int64(len(items))}
	for _, img := range items {
		if active[img.ID] {
			u.ActiveCount++
		}
	}
	u.TotalSize, u.Reclaimable, err = s.store.Usage(active, users.layers)
	return u, err
}

// Variant is one of the images that a registry calls by one name.
type Variant struct {
	ID, Platform string
	Size         int64 // unpacked
	Content      int64 // manifests, configuration and kept blobs
	InUse        bool
}

// Platforms returns the images that belong with one because a registry has
// them under the same digest, itself among them, by platform.
func (s *Set) Platforms(ctx context.Context) (map[string][]Variant, error) {
	images, err := s.store.Images()
	if err != nil {
		return nil, err
	}
	users, _ := s.Users() // a damaged container is no reason to list nothing
	described := map[string]Variant{}
	for _, img := range images {
		blobs, err := s.store.Blobs(img)
		if err != nil {
			return nil, err
		}
		d := Variant{ID: img.ID, Platform: img.Platform().String(), Size: s.store.LayerSize(img), InUse: len(users.of[img.ID]) > 0}
		for _, n := range blobs {
			d.Content += n
		}
		described[img.ID] = d
	}
	out := map[string][]Variant{}
	for _, img := range images {
		for _, other := range store.Variants(images, img) {
			out[img.ID] = append(out[img.ID], described[other.ID])
		}
	}
	return out, nil
}
