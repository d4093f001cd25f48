package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"berth/internal/layer"
	"berth/internal/roster"
	"berth/internal/store"
	"berth/internal/transfer"
)

// layers opens the layers of one kind.
func (e *Engine) layers(kind store.Kind) *layer.Set {
	if e.inside == nil {
		return layer.OpenKind(e.dir, kind, nil)
	}
	if kind == store.Ranged {
		// They may be those of ids that the account had before. That it has
		// none now is said where some are needed.
		_, _ = e.inside.Ranges()
	}
	return layer.OpenKind(e.dir, kind, e.inside)
}

// ownLayers opens the layers of the kind that containers here have unless they
// ask for something else. Where other machines see the plain layers, too, what
// comes goes there, for all: this machine makes its own of them.
func (e *Engine) ownLayers() *layer.Set {
	if e.host.Rootless && !e.dir.Shares(string(store.Plain)) {
		if _, err := e.inside.Ranges(); err == nil {
			return e.layers(store.Ranged)
		}
	}
	return e.layers(store.Plain)
}

// kindOf is the kind of layers that a container is made of.
func kindOf(r *record) store.Kind {
	if r.IDs == roster.Ranges {
		return store.Ranged
	}
	return store.Plain
}

// stack returns the folders of a container's layers, top first.
func (e *Engine) stack(r *record) ([]string, error) {
	trees, err := e.layers(kindOf(r)).Stack(r.Layers)
	if err == nil || kindOf(r) != store.Ranged {
		return trees, err
	}
	if now, none := e.inside.Ranges(); none == nil { // it may be why
		err = cmp.Or(e.sameIDs(r, now), err)
	}
	return nil, err
}

// ensureLayers makes the layers of a new container that are there with other
// owners only.
func (e *Engine) ensureLayers(ctx context.Context, r *record) error {
	set := e.layers(kindOf(r))
	if !slices.ContainsFunc(r.Layers, func(id string) bool { return !set.Has(id) }) {
		return nil
	}
	lease, err := e.store.Lease(r.Layers)
	if err != nil {
		return err
	}
	defer lease.Close()
	if err := set.Ensure(ctx, r.Layers); err != nil {
		return fmt.Errorf("%w; or remove image %s and pull it again", err, r.Image)
	}
	return nil
}

// copyLayers copies what a container's image has at a path into an empty folder.
func (e *Engine) copyLayers(ctx context.Context, r *record, path, dst string) error {
	trees, err := e.stack(r)
	if err != nil {
		return err
	}
	if kindOf(r) == store.Ranged {
		return e.inside.Copy(ctx, trees, path, dst)
	}
	v, err := layer.NewView("", trees)
	if err != nil {
		return err
	}
	defer v.Close()
	return v.CopyOut(path, dst)
}

// transferSpaces says where files of a container are worked on.
func (e *Engine) transferSpaces(r *record) (transfer.Namespaces, error) {
	ns := transfer.Namespaces{User: e.host.Rootless, UID: e.host.UID, GID: e.host.GID}
	var err error
	if kindOf(r) == store.Ranged {
		ns.Ranged, err = e.inside.Namespace()
	}
	return ns, err
}
