package engine

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/moby/moby/api/types/events"

	"berth/internal/commit"
	"berth/internal/images"
	"berth/internal/layer"
	"berth/internal/registry/ref"
	"berth/internal/shim"
	"berth/internal/transfer"
)

// changes tells what a container has changed in its image. What a start puts
// there for every container is not its own.
func (e *Engine) changes(r *record) (layer.Container, error) {
	trees, err := e.stack(r)
	if err != nil {
		return layer.Container{}, err
	}
	c := layer.Container{Trees: trees, Exclude: ownPlaces()}
	if r.Driver == driverCopy {
		c.Copy = e.containerDir(r.ID, rootfsDir)
	} else {
		c.Upper = e.containerDir(r.ID, upperDir)
	}
	return c, nil
}

// ownPlaces are where every container has something mounted.
func ownPlaces() []string {
	return []string{"/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
}

// ContainerDiff lists what a container has changed in its root file system.
func (e *Engine) ContainerDiff(ctx context.Context, ref string) ([]layer.Change, error) {
	id, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	r, _, err := e.load(id)
	if err != nil {
		return nil, err
	}
	c, err := e.changes(r)
	if err != nil {
		return nil, err
	}
	spaces, err := e.transferSpaces(r)
	if err != nil {
		return nil, err
	}
	return transfer.Changes(ctx, c, spaces)
}

// ContainerExport writes the root file system of a container as a tar stream,
// without its volumes.
func (e *Engine) ContainerExport(ctx context.Context, ref string, w io.Writer) error {
	id, err := e.find(ref)
	if err != nil {
		return err
	}
	r, _, err := e.load(id)
	if err != nil {
		return err
	}
	c, err := e.changes(r)
	if err != nil {
		return err
	}
	spaces, err := e.transferSpaces(r)
	if err != nil {
		return err
	}
	e.noteContainer(r, events.ActionExport)
	return e.stillThere(id, transfer.Export(ctx, w, c, spaces))
}

// stillThere is the last word on what was read of a container: files vanish
// under who reads while the container is removed, which begins with its record.
func (e *Engine) stillThere(id string, err error) error {
	if err == nil {
		_, _, err = e.load(id)
	}
	return err
}

// CommitOptions describes the image that a container becomes.
type CommitOptions struct {
	Name    string // may be empty
	Author  string
	Message string
	Changes []string // instructions of a Dockerfile
	Pause   bool     // the container stands still meanwhile, where it can
	Warn    func(text string)
}

// ContainerCommit makes an image of a container and returns its ID.
func (e *Engine) ContainerCommit(ctx context.Context, text string, opt CommitOptions) (string, error) {
	var names []string
	if opt.Name != "" {
		name, err := ref.Parse(opt.Name)
		if err == nil && name.IsDigested() {
			err = errors.New("invalid reference format: an image is not named by its digest")
		}
		if err != nil {
			return "", &Error{Kind: ErrInvalid, Text: err.Error()}
		}
		names = []string{name.String()}
	}
	id, err := e.find(text)
	if err != nil {
		return "", err
	}
	r, st, err := e.load(id)
	if err != nil {
		return "", err
	}
	config, err := commit.Config(r.Config, opt.Changes)
	if err != nil {
		return "", &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	// From here on no collector takes away what is about to be listed.
	lease, err := e.store.LeaseAll()
	if err != nil {
		return "", err
	}
	defer lease.Close()
	m, err := e.commitLayer(ctx, r, st, opt)
	if err != nil {
		return "", err
	}
	c := commit.Container{Config: r.Config, ImageID: r.ImageID, Layers: r.Layers, Platform: r.Platform}
	a, err := commit.Image(e.store, c, config, m, commit.Note{Author: opt.Author, Message: opt.Message})
	if err != nil {
		return "", err
	}
	a.Names = names
	img, err := e.store.Add(a)
	if err == nil {
		e.noteContainer(r, events.ActionCommit, "comment", opt.Message, "imageID", img.ID, "imageRef", strings.Join(images.Familiar(names), ""))
	}
	return img.ID, err
}

// commitLayer makes a layer of what the container has changed.
func (e *Engine) commitLayer(ctx context.Context, r *record, st shim.Status, opt CommitOptions) (*layer.Meta, error) {
	if opt.Pause && st.Phase == shim.Running {
		release, err := shim.Hold(ctx, e.containerDir(r.ID))
		if err == nil {
			defer release()
		} else if opt.Warn != nil {
			opt.Warn("the container goes on while it is committed: " + err.Error())
		}
	}
	c, err := e.changes(r)
	if err != nil {
		return nil, err
	}
	spaces, err := e.transferSpaces(r)
	if err != nil {
		return nil, err
	}
	list, err := transfer.Changes(ctx, c, spaces)
	if err = e.stillThere(r.ID, err); err != nil || len(list) == 0 {
		return nil, err // without any change there is no layer
	}
	return commit.Layer(ctx, e.ownLayers(), func(w io.Writer) error {
		return e.stillThere(r.ID, transfer.WriteDiff(ctx, w, c, spaces))
	})
}
