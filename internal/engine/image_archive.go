package engine

import (
	"context"
	"fmt"
	"io"
	"slices"

	"berth/internal/archive"
	"berth/internal/change"
	"berth/internal/registry/platform"
	"berth/internal/registry/ref"
	"berth/internal/store"
)

// ImageSave writes images as one archive that Docker and OCI programs read. A
// name without a tag stands for all tags of its repository.
func (e *Engine) ImageSave(ctx context.Context, names []string, platformName string, w io.Writer) error {
	var chosen []archive.Chosen
	for _, n := range names {
		c, err := e.choose(n, platformName)
		if err != nil {
			return err
		}
		for _, one := range c {
			i := slices.IndexFunc(chosen, func(old archive.Chosen) bool { return old.Image.ID == one.Image.ID })
			if i < 0 {
				chosen = append(chosen, one)
				continue
			}
			chosen[i].Names = slices.Compact(slices.Sorted(slices.Values(append(chosen[i].Names, one.Names...))))
		}
	}
	// A lease keeps what is being written; the names may go meanwhile.
	var needed []string
	for _, c := range chosen {
		needed = append(needed, c.Image.Layers...)
		blobs, err := e.images.Blobs(c.Image)
		if err != nil {
			return err
		}
		for digest := range blobs {
			needed = append(needed, digest)
		}
	}
	lease, err := e.images.Lease(needed)
	if err != nil {
		return err
	}
	defer lease.Close()
	return archive.Save(ctx, e.images, chosen, w)
}

// choose returns the images that a word on the command line of save stands for.
func (e *Engine) choose(text, platformName string) ([]archive.Chosen, error) {
	r, err := ref.ParseName(text)
	if err == nil && r.Tag == "" && r.Digest == "" {
		images, err := e.images.Images()
		if err != nil {
			return nil, err
		}
		var out []archive.Chosen
		for _, img := range images {
			names := slices.DeleteFunc(slices.Clone(img.Names), func(n string) bool { return repositoryOf(n) != r.Name() })
			if len(names) == 0 || platformName != "" && checkPlatform(img, platformName) != nil {
				continue
			}
			out = append(out, archive.Chosen{Image: img, Names: names})
		}
		if len(out) > 0 {
			return out, nil
		}
	}
	img, err := e.imageOn(text, platformName)
	if err != nil {
		return nil, err
	}
	c := archive.Chosen{Image: img}
	if name, ok := nameMeant(img, text); ok && r.Digest == "" {
		c.Names = []string{name}
	}
	return []archive.Chosen{c}, nil
}

// imageOn returns the image that text names if it is for a platform; empty is
// any.
func (e *Engine) imageOn(text, platformName string) (store.Image, error) {
	img, err := e.image(text)
	if err == nil && platformName != "" {
		if err := checkPlatform(img, platformName); err != nil {
			return img, &Error{Kind: ErrNotFound, Text: fmt.Sprintf("image with reference %s was found but %v", text, err)}
		}
	}
	return img, err
}

func checkPlatform(img store.Image, name string) error {
	want, err := platform.Parse(name)
	if err != nil {
		return err
	}
	p := img.Platform()
	if have := platform.New(p.OS, p.Architecture, p.Variant); want.Fit(have) == 0 {
		return fmt.Errorf("its platform (%s) does not match the specified platform (%s)", have, want)
	}
	return nil
}

// Loaded is an image that came with an archive.
type Loaded struct {
	ID    string
	Names []string // familiar; may be empty
}

// ImageLoad lists the images of an archive.
func (e *Engine) ImageLoad(ctx context.Context, r io.Reader, platformName string, progress Progress) ([]Loaded, error) {
	opt := archive.LoadOptions{Platform: platformName}
	if progress != nil {
		opt.Report = progress.Layer
	}
	got, err := archive.Load(ctx, e.images, r, opt)
	if cerr := e.collectSpare(); err == nil {
		err = cerr
	}
	var out []Loaded
	for _, l := range got {
		out = append(out, Loaded{ID: l.ID, Names: familiar(l.Names)})
	}
	return out, err
}

// collectSpare removes layers that came and turned out not to be needed.
func (e *Engine) collectSpare() error {
	_, err := e.withRemover(func(r *remover) error { r.collect = true; return nil })
	return err
}

// ImportOptions describes the image that ImageImport makes.
type ImportOptions struct {
	Name     string // may be empty
	Platform string
	Message  string
	Changes  []string // instructions of a Dockerfile
}

// ImageImport makes an image of the tar stream of a file system and returns
// its ID.
func (e *Engine) ImageImport(ctx context.Context, r io.Reader, opt ImportOptions) (string, error) {
	o := archive.ImportOptions{Platform: opt.Platform, Message: opt.Message}
	if opt.Name != "" {
		name, err := ref.Parse(opt.Name)
		if err != nil {
			return "", &Error{Kind: ErrInvalid, Text: err.Error()}
		}
		if name.IsDigested() {
			return "", &Error{Kind: ErrInvalid, Text: "cannot import digest reference"}
		}
		o.Name = name.String()
	}
	var config change.Config
	if err := change.Apply(&config, opt.Changes); err != nil {
		return "", &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	o.Config = config
	img, err := archive.Import(ctx, e.images, r, o)
	if err != nil {
		e.collectSpare()
	}
	return img.ID, err
}
