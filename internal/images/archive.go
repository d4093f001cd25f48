package images

import (
	"context"
	"errors"
	"io"

	"github.com/moby/moby/api/types/events"

	"berth/internal/archive"
	"berth/internal/change"
	"berth/internal/errdef"
	"berth/internal/registry/ref"
	"berth/internal/stage"
	"berth/internal/store"
)

// Save writes images as one archive that Docker and OCI programs read. A
// name without a tag stands for all tags of its repository.
func (s *Set) Save(ctx context.Context, names []string, platformName string, w io.Writer) error {
	var chosen []archive.Chosen
	for _, n := range names {
		if err := s.take(ctx, n); err != nil {
			return err
		}
		var err error
		if chosen, err = archive.Choose(s.store, n, platformName, chosen); err != nil {
			return imageError(n, err)
		}
	}
	if err := archive.Save(ctx, s.store, s.Layers(), chosen, w); err != nil {
		return err
	}
	for _, c := range chosen {
		s.note(events.ActionSave, c.Image.ID, c.Image.ID)
	}
	return nil
}

// on returns the image that text names if it is for a platform; empty is
// any.
func (s *Set) on(text, platformName string) (store.Image, error) {
	img, err := s.Find(text)
	if err == nil {
		err = imageError(text, archive.Fits(img, text, platformName))
	}
	return img, err
}

// On returns the ID of the image that text names, or, if that is for
// another platform, of the one for the platform that a registry has under the
// same digest. Empty is any platform: then the answer is text.
func (s *Set) On(ctx context.Context, text, platformName string) (string, error) {
	if platformName == "" {
		_, err := s.Find(text)
		if errors.Is(err, errdef.ErrNotFound) {
			if st, _ := s.inShared(text); st != nil {
				err = nil
			}
		}
		return text, err
	}
	if err := s.take(ctx, text); err != nil {
		return "", err
	}
	img, err := s.on(text, platformName)
	if err == nil || img.ID == "" {
		return img.ID, err
	}
	images, lerr := s.store.Images()
	if lerr != nil {
		return "", lerr
	}
	for _, other := range store.Variants(images, img) {
		if archive.Fits(other, text, platformName) == nil {
			return other.ID, nil
		}
	}
	return "", &errdef.Error{Kind: errdef.ErrConflict, Text: err.Error()} // there is such an image
}

// Loaded is an image that came with an archive.
type Loaded struct {
	ID    string
	Names []string // familiar; may be empty
}

// Load lists the images of an archive.
func (s *Set) Load(ctx context.Context, r io.Reader, platformName string, progress Progress) ([]Loaded, error) {
	opt := archive.LoadOptions{Layers: s.Layers(), Platform: platformName, Zstd: s.unzstd()}
	if progress != nil {
		opt.Report = progress.Layer
	}
	got, err := archive.Load(ctx, s.store, r, opt)
	if cerr := s.collectSpare(); err == nil {
		err = cerr
	}
	var out []Loaded
	for _, l := range got {
		out = append(out, Loaded{ID: l.ID, Names: Familiar(l.Names)})
		for _, n := range append(Familiar(l.Names), l.ID)[:max(1, len(l.Names))] {
			s.note(events.ActionLoad, l.ID, n)
		}
	}
	return out, err
}

// unzstd is the program that has the decoder: that which talks to registries.
func (s *Set) unzstd() archive.Tool {
	return archive.Tool{Path: stage.Remote(s.Dir), Args: []string{"berth-remote", stage.Unzstd}}
}

// collectSpare removes layers that came and turned out not to be needed.
func (s *Set) collectSpare() error {
	_, err := s.withRemover(func(r *remover) error { r.collect = true; return nil })
	return err
}

// ImportOptions describes the image that Import makes.
type ImportOptions struct {
	Name     string // may be empty
	Platform string
	Message  string
	Changes  []string // instructions of a Dockerfile
}

// Import makes an image of the tar stream of a file system and returns
// its ID.
func (s *Set) Import(ctx context.Context, r io.Reader, opt ImportOptions) (string, error) {
	o := archive.ImportOptions{Layers: s.Layers(), Platform: opt.Platform, Message: opt.Message, Zstd: s.unzstd()}
	if opt.Name != "" {
		name, err := ref.Parse(opt.Name)
		if err != nil {
			return "", &errdef.Error{Kind: errdef.ErrInvalid, Text: err.Error()}
		}
		if name.IsDigested() {
			return "", &errdef.Error{Kind: errdef.ErrInvalid, Text: "cannot import digest reference"}
		}
		o.Name = name.String()
	}
	var config change.Config
	if err := change.Apply(&config, opt.Changes); err != nil {
		return "", &errdef.Error{Kind: errdef.ErrInvalid, Text: err.Error()}
	}
	o.Config = config
	img, err := archive.Import(ctx, s.store, r, o)
	if err != nil {
		s.collectSpare()
		return "", err
	}
	if o.Name != "" {
		s.note(events.ActionTag, img.ID, FamiliarName(o.Name))
	}
	s.note(events.ActionImport, img.ID, img.ID)
	return img.ID, nil
}
