package push

import (
	"encoding/json"
	"slices"

	"berth/internal/registry/ref"
	"berth/internal/store"
)

// form is how a layer travels: packed in one way or another.
type form struct {
	desc  store.Descriptor
	homes []ref.Ref // repositories that had it when we last saw them
}

// version is one manifest of an image.
type version struct {
	raw []byte
	doc store.Manifest
}

// forms is what the store knows of how layers travel.
type forms struct {
	byDiff   map[string][]*form   // by diff ID
	versions map[string][]version // by image ID, the newest first
}

// gather reads it from all manifests of the store.
func gather(s *store.Store) (*forms, error) {
	images, err := s.Images()
	if err != nil {
		return nil, err
	}
	f := &forms{byDiff: map[string][]*form{}, versions: map[string][]version{}}
	for _, img := range images {
		if img.Damage == nil {
			f.image(s, img)
		}
	}
	return f, nil
}

func (f *forms) image(s *store.Store, img store.Image) {
	// A digest may be that of a list, which is not in the store: then the
	// repository has whatever manifest was picked from it.
	digests := []string{img.ManifestDigest}
	exact := map[string][]ref.Ref{}
	var listed []ref.Ref
	for _, name := range img.RepoDigests {
		r, err := ref.Parse(name)
		if err != nil {
			continue
		}
		if _, kept := s.HasBlob(r.Digest); !kept {
			listed = append(listed, r)
			continue
		}
		exact[r.Digest] = append(exact[r.Digest], r)
		if !slices.Contains(digests, r.Digest) {
			digests = append(digests, r.Digest)
		}
	}
	for _, d := range digests {
		raw, err := s.Get(d)
		var doc store.Manifest
		if err != nil || json.Unmarshal(raw, &doc) != nil || doc.Config.Digest != img.ID || len(doc.Layers) != len(img.Layers) {
			continue
		}
		if doc.MediaType == "" {
			doc.MediaType = store.MediaTypeManifest
		}
		f.versions[img.ID] = append(f.versions[img.ID], version{raw, doc})
		for i, l := range doc.Layers {
			f.add(img.Layers[i], l, append(exact[d], listed...))
		}
	}
}

func (f *forms) add(diffID string, desc store.Descriptor, homes []ref.Ref) {
	if _, ok := store.Hex(desc.Digest); !ok || desc.Size < 0 {
		return
	}
	for _, old := range f.byDiff[diffID] {
		if old.desc.Digest == desc.Digest {
			old.homes = append(old.homes, homes...)
			return
		}
	}
	f.byDiff[diffID] = append(f.byDiff[diffID], &form{desc: desc, homes: slices.Clone(homes)})
}

// of returns the forms of a layer, the one that a manifest names first.
func (f *forms) of(diffID string, first store.Descriptor) []*form {
	out := slices.Clone(f.byDiff[diffID])
	slices.SortStableFunc(out, func(a, b *form) int {
		return rank(b.desc.Digest == first.Digest) - rank(a.desc.Digest == first.Digest)
	})
	return out
}

func rank(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
