package images

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"

	"berth/internal/errdef"
	"berth/internal/filter"
	"berth/internal/registry/ref"
	"berth/internal/roster"
	"berth/internal/store"
)

// RemoveOptions says how an image goes. NoPrune is accepted for Docker's
// sake: images here have no parents. With Platforms only the images for those
// go that a registry has under the same digest.
type RemoveOptions struct {
	Force, NoPrune bool
	Platforms      []string
}

// Users is what containers need of images.
type Users struct {
	of     map[string][]user // by image ID
	layers map[string]bool   // diff IDs
}

type user struct {
	id      string
	running bool
}

// Users looks through all containers. A container that cannot be read
// might need anything, which is an error.
func (s *Set) Users() (Users, error) {
	u := Users{of: map[string][]user{}, layers: map[string]bool{}}
	ids, err := s.Roster.IDs()
	if err != nil {
		return u, err
	}
	for _, id := range ids {
		r, st, err := s.Roster.Load(id)
		if errors.Is(err, errdef.ErrNotFound) {
			continue
		}
		if err != nil {
			return u, fmt.Errorf("cannot tell which image container %s needs: %w", roster.ShortID(id), err)
		}
		u.of[r.ImageID] = append(u.of[r.ImageID], user{id: id, running: roster.Active(st)})
		for _, l := range r.Layers {
			u.layers[l] = true
		}
	}
	others, err := s.Roster.Elsewhere()
	for _, r := range others {
		u.of[r.ImageID] = append(u.of[r.ImageID], user{id: r.ID})
		for _, l := range r.Layers {
			u.layers[l] = true
		}
	}
	return u, err
}

// remover removes images while nobody else may link to them.
type remover struct {
	c     *store.Collector
	users Users
	gone  []image.DeleteResponse
	// events are written when all is done.
	events []imageEvent
	// collect asks for the removal of what nobody needs any more.
	collect bool
	bytes   int64
}

type imageEvent struct {
	action events.Action
	id     string
}

// withRemover runs do and then, if that asks for it, removes what nobody needs
// any more.
func (s *Set) withRemover(do func(*remover) error) (*remover, error) {
	c, err := s.store.Collector()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r := &remover{c: c}
	// Containers are listed under a hold, so none can appear from here on.
	if r.users, err = s.Users(); err != nil {
		return nil, err
	}
	if err := do(r); err != nil {
		return nil, err
	}
	for _, ev := range r.events {
		s.note(ev.action, ev.id, ev.id)
	}
	if !r.collect {
		return r, nil
	}
	out, err := c.Collect(r.users.layers)
	var damaged *store.DamagedError
	if errors.As(err, &damaged) {
		// Another image cannot be read. What was asked for is done, and
		// this one's files wait until that one is removed, too.
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	for _, l := range out.Layers {
		r.gone = append(r.gone, image.DeleteResponse{Deleted: l})
	}
	r.bytes = out.Bytes
	return r, c.Close()
}

// Remove takes a name from an image, and with the last one the image. An
// image named by ID goes if all its names are of one repository.
func (s *Set) Remove(ctx context.Context, text string, opt RemoveOptions) ([]image.DeleteResponse, error) {
	if len(opt.Platforms) > 0 {
		return s.removePlatforms(ctx, text, opt)
	}
	r, err := s.withRemover(func(r *remover) error {
		img, err := r.c.Find(text)
		if err != nil {
			return s.notOurs(text, imageError(text, err))
		}
		return r.remove(img, text, opt.Force)
	})
	if err != nil {
		return nil, err
	}
	return r.gone, nil
}

// removePlatforms removes images by their IDs, which takes all names of each.
func (s *Set) removePlatforms(ctx context.Context, text string, opt RemoveOptions) ([]image.DeleteResponse, error) {
	var ids []string
	for _, p := range opt.Platforms {
		id, err := s.On(ctx, text, p)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	var gone []image.DeleteResponse
	for _, id := range slices.Compact(ids) {
		g, err := s.Remove(ctx, id, RemoveOptions{Force: opt.Force})
		if gone = append(gone, g...); err != nil {
			return gone, err
		}
	}
	return gone, nil
}

func (r *remover) remove(img store.Image, text string, force bool) error {
	name, byName := nameMeant(img, text)
	names := slices.Concat(img.Names, img.RepoDigests)
	users := r.users.of[img.ID]
	if !byName {
		if !oneReference(img) && !force {
			return conflict(img, "must be forced", "image is referenced in multiple repositories")
		}
		return r.delete(img, names, force)
	}
	if !force && len(users) > 0 && oneReference(img) {
		return &errdef.Error{Kind: errdef.ErrConflict, Text: fmt.Sprintf("conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s",
			text, roster.ShortID(users[0].id), shortImageID(img.ID))}
	}
	gone := []string{name}
	if repo := repositoryOf(name); !strings.Contains(name, "@") && !slices.ContainsFunc(img.Names, func(n string) bool { return n != name && repositoryOf(n) == repo }) {
		// No tag of the repository is left, so its digests go, too.
		for _, d := range img.RepoDigests {
			if repositoryOf(d) == repo {
				gone = append(gone, d)
			}
		}
	}
	if len(gone) == len(names) && !isRunning(users) {
		return r.delete(img, gone, force)
	}
	return r.untag(img, gone)
}

// delete removes an image with all its names.
func (r *remover) delete(img store.Image, names []string, force bool) error {
	for _, u := range r.users.of[img.ID] {
		if u.running {
			return conflict(img, "cannot be forced", "image is being used by running container "+roster.ShortID(u.id))
		}
		if !force {
			return conflict(img, "must be forced", "image is being used by stopped container "+roster.ShortID(u.id))
		}
	}
	if err := r.c.Delete(img.ID); err != nil {
		return err
	}
	r.note(img, names)
	r.gone = append(r.gone, image.DeleteResponse{Deleted: img.ID})
	r.events = append(r.events, imageEvent{events.ActionDelete, img.ID})
	r.collect = true
	return nil
}

func (r *remover) untag(img store.Image, names []string) error {
	r.note(img, names)
	return r.c.Untag(names...)
}

func (r *remover) note(img store.Image, names []string) {
	for _, n := range Familiar(names) {
		r.events = append(r.events, imageEvent{events.ActionUnTag, img.ID})
		r.gone = append(r.gone, image.DeleteResponse{Untagged: n})
	}
}

func conflict(img store.Image, force, why string) error {
	return &errdef.Error{Kind: errdef.ErrConflict, Text: fmt.Sprintf("conflict: unable to delete %s (%s) - %s", shortImageID(img.ID), force, why)}
}

// nameMeant returns which of the image's names the text is; it may be an ID
// instead.
func nameMeant(img store.Image, text string) (string, bool) {
	r, err := ref.Parse(text)
	if err != nil {
		return "", false
	}
	if r.Digest != "" {
		name := r.Name() + "@" + r.Digest
		return name, slices.Contains(img.RepoDigests, name)
	}
	return r.String(), slices.Contains(img.Names, r.String())
}

// oneReference reports whether an image has no more than one tag and no digest
// of another repository.
func oneReference(img store.Image) bool { return len(img.Names) <= 1 && oneRepository(img) }

func oneRepository(img store.Image) bool {
	names := slices.Concat(img.Names, img.RepoDigests)
	return !slices.ContainsFunc(names, func(n string) bool { return repositoryOf(n) != repositoryOf(names[0]) })
}

func repositoryOf(name string) string {
	r, err := ref.ParseName(name)
	if err != nil {
		return name
	}
	return r.Name()
}

func isRunning(users []user) bool {
	return slices.ContainsFunc(users, func(u user) bool { return u.running })
}

func shortImageID(id string) string { return roster.ShortID(strings.TrimPrefix(id, "sha256:")) }

// DropLayers removes layers that only a container needed which is gone: its
// image was removed by force before. It is called after removing a container.
func (s *Set) DropLayers(imageID string) error {
	if _, err := s.store.Find(imageID); !errors.Is(err, store.ErrNotFound) {
		return nil
	}
	_, err := s.withRemover(func(r *remover) error { r.collect = true; return nil })
	return err
}

// Prune removes the images that no container uses: those without a tag,
// or all; and what killed pulls have left. Filters: dangling, label, label!,
// until.
func (s *Set) Prune(ctx context.Context, all bool, filters map[string][]string) (image.PruneReport, error) {
	var rep image.PruneReport
	match, err := s.store.Filter(filters, "dangling", "label", "label!", "until")
	if err != nil {
		return rep, imageError("", err)
	}
	all = all || slices.ContainsFunc(filters["dangling"], filter.False)
	r, err := s.withRemover(func(r *remover) error {
		r.collect = true
		images, err := r.c.Images()
		if err != nil {
			return err
		}
		for _, img := range images {
			if len(r.users.of[img.ID]) > 0 || !all && len(img.Names) > 0 || img.Damage != nil || !match(img) {
				continue
			}
			if err := r.delete(img, slices.Concat(img.Names, img.RepoDigests), false); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return rep, err
	}
	s.event(events.ActionPrune, "", map[string]string{"reclaimed": strconv.FormatInt(r.bytes, 10)})
	return image.PruneReport{ImagesDeleted: r.gone, SpaceReclaimed: uint64(r.bytes)}, nil
}
