package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/moby/moby/api/types/image"

	"berth/internal/archive"
	"berth/internal/errdef"
	"berth/internal/layer"
	"berth/internal/registry/platform"
	"berth/internal/registry/ref"
	"berth/internal/shared"
	"berth/internal/state"
	"berth/internal/store"
)

// Shared is an image in a folder that all accounts of the machine may use.
type Shared struct {
	image.Summary
	Store string // the folder
}

// Shared lists the images of the shared folders, as far as their names fit one
// of the patterns of --filter reference; without any all. The errors are those of
// folders that cannot be read, the images those of the others.
func (s *Set) Shared(patterns []string) (out []Shared, unread []error) {
	for _, dir := range s.Stores {
		list, err := shared.Open(dir).Images()
		if err != nil {
			unread = append(unread, err)
			continue
		}
		for _, img := range list {
			if len(patterns) > 0 && len(store.Matching([]string{img.Name}, patterns)) == 0 {
				continue
			}
			item := Shared{Store: dir}
			item.ID, item.RepoTags, item.Size, item.SharedSize, item.Containers = img.ID, Familiar([]string{img.Name}), img.Size, -1, -1
			if !img.Created.IsZero() {
				item.Created = img.Created.Unix()
			}
			out = append(out, item)
		}
	}
	return out, unread
}

// inShared returns the first shared folder that has an image, with its full
// name there.
func (s *Set) inShared(text string) (st *shared.Store, name string) {
	r, err := ref.Parse(text)
	if err != nil || r.Digest != "" {
		return nil, ""
	}
	for _, dir := range s.Stores {
		if st := shared.Open(dir); st.Has(r.String()) {
			return st, r.String()
		}
	}
	return nil, ""
}

// look returns an image for those who ask about it and need none of its files,
// with the bytes of its layers: unpacked here, packed in a shared folder.
func (s *Set) look(text string) (img store.Image, size int64, err error) {
	img, err = s.Find(text)
	if err == nil {
		return img, s.store.LayerSize(img), nil
	}
	if st, name := s.inShared(text); st != nil && errors.Is(err, errdef.ErrNotFound) {
		return st.Find(name, fits(platform.Host()))
	}
	return img, 0, err
}

// fits tells how well what runs on a platform fits the one that is wanted.
func fits(want platform.Platform) func(store.Platform) int {
	return func(p store.Platform) int { return want.Fit(platform.New(p.OS, p.Architecture, p.Variant)) }
}

// take makes an image of a shared folder one of this store, unless one of that
// name is here already. That there is none at all is for others to say.
func (s *Set) take(ctx context.Context, text string) error {
	if _, err := s.store.Find(text); !errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if st, _ := s.inShared(text); st == nil {
		return nil
	}
	_, err := s.fromShared(ctx, text, "", nil)
	return err
}

// takeCurrent takes what is to be pulled from a shared folder if the registry
// means the same by the name: then none of its layers need be fetched.
func (s *Set) takeCurrent(ctx context.Context, opt PullOptions) error {
	st, name := s.inShared(opt.Ref)
	if st == nil || opt.AllTags || opt.KeepBlobs {
		return nil
	}
	if _, err := s.store.Find(opt.Ref); !errors.Is(err, store.ErrNotFound) {
		return nil
	}
	want, err := platform.Parse(opt.Platform)
	if err != nil {
		return nil // the registry's client says it
	}
	there, _, err := st.Find(name, fits(want))
	if err != nil || fits(want)(there.Platform()) == 0 {
		return nil
	}
	docs, err := s.Remote.Manifests(ctx, s.store, ManifestOptions{Ref: opt.Ref})
	same := func(d ManifestDocument) bool { // or a list with it
		return d.Digest == there.ManifestDigest || d.List && bytes.Contains(d.Raw, []byte(there.ManifestDigest))
	}
	if err != nil || !slices.ContainsFunc(docs, same) {
		return nil // and so of a registry that does not answer
	}
	_, err = s.fromShared(ctx, opt.Ref, opt.Platform, opt.Progress)
	return err
}

// fromShared makes an image of a shared folder one of this store. All of it is
// checked on its way, as what an archive brings.
func (s *Set) fromShared(ctx context.Context, text, platformName string, progress Progress) (store.Image, error) {
	st, name := s.inShared(text)
	if st == nil {
		return store.Image{}, noImage(text)
	}
	if progress != nil {
		progress.Message("Taking " + FamiliarName(name) + " from " + st.Dir())
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(st.Write(ctx, name, w)) }()
	got, err := s.Load(ctx, r, platformName, progress)
	r.Close()
	if err != nil {
		return store.Image{}, fmt.Errorf("cannot take %s from %s: %w", FamiliarName(name), st.Dir(), err)
	}
	if len(got) == 0 {
		return store.Image{}, noImage(text)
	}
	return s.Find(got[0].ID)
}

// PullShared brings images from their registry into a shared folder. The data
// root keeps nothing of them.
func (s *Set) PullShared(ctx context.Context, opt PullOptions, folder string) (PullResult, error) {
	remote, err := s.registries()
	if err != nil {
		return PullResult{}, err
	}
	to := shared.Open(folder)
	if err := to.Prepare(); err != nil {
		return PullResult{}, fmt.Errorf("cannot put images into %s: %w", folder, err)
	}
	tmp, err := s.Dir.Temp()
	if err != nil {
		return PullResult{}, err
	}
	defer tmp.Close()
	dir, err := state.Open(tmp.Path("root"))
	if err != nil {
		return PullResult{}, err
	}
	passing := store.Open(dir)
	opt.KeepBlobs = true
	res, err := remote.Pull(ctx, passing, opt)
	if err != nil {
		return res, err
	}
	chosen, err := archive.Choose(passing, opt.Ref, opt.Platform, nil)
	if err != nil {
		return res, imageError(opt.Ref, err)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(archive.Save(ctx, passing, layer.Open(dir), chosen, w)) }()
	err = to.Add(r)
	r.Close()
	if err != nil {
		err = fmt.Errorf("cannot put %s into %s: %w", opt.Ref, folder, err)
	}
	return res, err
}

// notOurs says of an image that is not here that it lies in a shared folder.
func (s *Set) notOurs(text string, err error) error {
	if st, name := s.inShared(text); st != nil && errors.Is(err, errdef.ErrNotFound) {
		return &errdef.Error{Kind: errdef.ErrConflict, Text: fmt.Sprintf("conflict: unable to remove %s: it lies in the shared image store %s, which %q only reads", FamiliarName(name), st.Dir(), "rmi")}
	}
	return err
}
