package store

import (
	"slices"
	"strings"
)

// Share is the room that an image takes, and how much of it others share.
type Share struct{ Size, Shared int64 }

// Shares returns the shares of images in the files of their layers, by ID. A
// layer that occurs twice in an image counts twice, as in Docker.
func (s *Store) Shares(images []Image) map[string]Share {
	sizes, users := map[string]int64{}, map[string]int{}
	for _, img := range images {
		for _, l := range slices.Compact(slices.Sorted(slices.Values(img.Layers))) {
			users[l]++
			if m, err := FindLayer(s.dir, l); err == nil {
				sizes[l] = m.Size
			}
		}
	}
	out := make(map[string]Share, len(images))
	for _, img := range images {
		var sh Share
		for _, l := range img.Layers {
			sh.Size += sizes[l]
			if users[l] > 1 {
				sh.Shared += sizes[l]
			}
		}
		out[img.ID] = sh
	}
	return out
}

// Usage adds up the bytes of all layers and of the blobs of listed images, each
// once, whoever shares it, and how many of them could be free: those of images
// that active does not name, and layers that are not in used. Layers count
// whether or not an image lists them.
func (s *Store) Usage(active, used map[string]bool) (total, reclaimable int64, err error) {
	layers, err := s.Layers()
	if err != nil {
		return 0, 0, err
	}
	for _, kind := range Kinds() {
		for id, m := range layers[kind] {
			total += m.Size
			if !used[id] {
				reclaimable += m.Size
			}
		}
	}
	images, err := s.Images()
	if err != nil {
		return 0, 0, err
	}
	sizes, needed := map[string]int64{}, map[string]bool{}
	for _, img := range images {
		blobs, err := s.Blobs(img)
		if err != nil {
			return 0, 0, err
		}
		for digest, size := range blobs {
			sizes[digest] = size
			needed[digest] = needed[digest] || active[img.ID]
		}
	}
	for digest, size := range sizes {
		total += size
		if !needed[digest] {
			reclaimable += size
		}
	}
	return total, reclaimable, nil
}

// Variants returns the images that a registry has under one digest with img,
// one for each platform, itself among them.
func Variants(images []Image, img Image) []Image {
	out := slices.DeleteFunc(slices.Clone(images), func(other Image) bool {
		related := slices.ContainsFunc(img.RepoDigests, func(d string) bool { return slices.Contains(other.RepoDigests, d) })
		return !related && other.ID != img.ID
	})
	slices.SortFunc(out, func(a, b Image) int { return strings.Compare(a.Platform().String(), b.Platform().String()) })
	return out
}
