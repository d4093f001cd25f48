package layer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Container says where the files of a container lie. Exactly one of Upper and
// Copy is set.
type Container struct {
	Upper string   // the folder that overlay writes to
	Copy  string   // the whole tree of a container whose root was copied
	Trees []string // of its image, top first, as [Set.Stack] returns them
	// Exclude has clean absolute paths in the container that are not its
	// own, like mount points. They and all below them are left out, and a
	// folder touched only because of them counts as unchanged.
	Exclude []string
}

// Change is a difference between a container and its image.
type Change struct {
	Kind byte   // 'A' added, 'C' changed, 'D' deleted
	Path string // absolute
}

// Changes lists what a container has changed: folders before what lies in
// them, each folder sorted by name, as Docker counts: the time of a folder does
// not matter, but one with a change in it has changed. Of what was deleted only
// the topmost folder is named.
func Changes(ctx context.Context, c Container) ([]Change, error) {
	var out []Change
	err := c.differences(ctx, func(d *difference) error {
		out = append(out, Change{Kind: d.kind, Path: d.path})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot compare the container with its image: %w", err)
	}
	return out, nil
}

// difference is a [Change] with what is needed to write it down.
type difference struct {
	kind  byte
	path  string
	own   *entry // what the container has; nil for 'D'
	below *entry // what it was made from, if it was copied up; may be nil
	// opaque folders hide all that the image has in them. What is deleted
	// by that is implied.
	opaque, implied bool
}

// differ walks a container's own files beside those of its image.
type differ struct {
	ctx     context.Context
	copied  bool
	exclude map[string]bool
	around  map[string]bool // folders that lead to what is excluded
	report  func(*difference) error
	open    []*level // the folders that lead to where the walk is
}

// level is a folder on the way.
type level struct {
	difference
	share    part   // the container's
	lower    []part // the image's shares; empty if it has no such folder
	reported bool
}

func (c Container) differences(ctx context.Context, report func(*difference) error) error {
	own, err := NewView(c.Upper+c.Copy, nil)
	if err != nil {
		return err
	}
	defer own.Close()
	below, err := NewView("", c.Trees)
	if err != nil {
		return err
	}
	defer below.Close()
	d := &differ{ctx: ctx, copied: c.Copy != "", exclude: map[string]bool{}, around: map[string]bool{}, report: report}
	for _, p := range c.Exclude {
		d.exclude[p] = true
		for i := strings.LastIndexByte(p, '/'); i > 0; i = strings.LastIndexByte(p[:i], '/') {
			d.around[p[:i]] = true
		}
	}
	top, err := own.openRoot()
	if err != nil {
		return err
	}
	defer top.close()
	from, err := below.openRoot()
	if err != nil {
		return err
	}
	defer from.close()
	// A container's top folder is made by berth, not by a copy.
	return d.folder(&level{difference: difference{path: "", own: top, below: from}, share: top.parts[0], lower: from.parts, reported: true})
}

// folder reports what differs in a folder.
func (d *differ) folder(l *level) error {
	if len(d.open) > maxDepth {
		return fmt.Errorf("%s lies more than %d folders deep", l.path, maxDepth)
	}
	d.open = append(d.open, l)
	defer func() { d.open = d.open[:len(d.open)-1] }()
	names, err := d.names(l)
	if err != nil {
		return fmt.Errorf("cannot read the folder %s: %w", l.path, err)
	}
	for _, name := range names {
		if err := d.ctx.Err(); err != nil {
			return err
		}
		path := l.path + "/" + name
		if d.exclude[path] {
			continue
		}
		if err := d.name(l, name, path); err != nil {
			return err
		}
	}
	return nil
}

// names lists what may differ in a folder, sorted: what lies in the
// container's own share, and where that is the whole truth, what lies in the
// image.
func (d *differ) names(l *level) ([]string, error) {
	entries, err := l.share.read()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if d.copied || l.opaque {
		below, err := list(l.lower)
		if err != nil {
			return nil, err
		}
		for _, e := range below {
			names = append(names, e.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// name reports how one name of a folder differs.
func (d *differ) name(l *level, name, path string) error {
	below, err := step(l.lower, name)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%s of the image: %w", path, err)
	}
	if below != nil {
		defer below.close()
	}
	fd, st, hides, err := l.share.open(name)
	if err == unix.ENOENT {
		if below == nil || !hides && !d.copied && !l.opaque {
			return nil
		}
		if d.copied && below.isDevice() && family(UserXattr()) == userFamily {
			return nil // this account could not have copied it
		}
		return d.tell(&difference{kind: 'D', path: path, implied: l.opaque})
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	own := &entry{fd: fd, st: st, layer: ownLayer}
	defer unix.Close(fd)
	if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		return nil // nothing without who listens
	}
	diff := difference{kind: 'A', path: path, own: own, below: below}
	if below != nil {
		diff.kind = 'C'
	}
	if l.opaque {
		diff.below = nil // made anew, not copied up
	}
	if own.isDir() {
		return d.subfolder(l, diff, below)
	}
	if d.copied && below != nil && same(own, below) {
		return nil
	}
	return d.tell(&diff)
}

func (d *differ) subfolder(l *level, diff difference, below *entry) error {
	share := part{fd: diff.own.fd, families: l.share.families, layer: ownLayer}
	diff.own.parts = []part{share}
	next := &level{share: share}
	if below != nil && below.isDir() {
		next.lower = below.parts
		diff.opaque = !d.copied && share.opaque()
	}
	next.difference = diff
	// One that the image lacks and that leads to a mount point was made for
	// that, unless there is more in it.
	made := below == nil && d.around[diff.path]
	if !made && (below == nil || diff.opaque || !same(diff.own, below)) {
		next.reported = true
		if err := d.tell(&diff); err != nil {
			return err
		}
	}
	return d.folder(next)
}

// tell reports a difference, and before it the folders it lies in.
func (d *differ) tell(diff *difference) error {
	for _, l := range d.open {
		if l.reported {
			continue
		}
		l.reported = true
		if err := d.report(&l.difference); err != nil {
			return err
		}
	}
	return d.report(diff)
}

// same reports whether two entries are alike in all that can be seen without
// reading contents: a copy keeps times to the nanosecond, so whoever writes to
// a file shows by its time.
func same(a, b *entry) bool {
	s, t := &a.st, &b.st
	if s.Mode != t.Mode || s.Uid != t.Uid || s.Gid != t.Gid || s.Rdev != t.Rdev {
		return false
	}
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		x, err := readlink(a.fd)
		y, err2 := readlink(b.fd)
		return err == nil && err2 == nil && x == y && s.Mtim == t.Mtim
	case unix.S_IFREG:
		if s.Size != t.Size || s.Mtim != t.Mtim {
			return false
		}
	case unix.S_IFDIR:
	default:
		return s.Mtim == t.Mtim
	}
	x, err := xattrsOf(a)
	y, err2 := xattrsOf(b)
	return err == nil && err2 == nil && slices.Equal(x, y)
}
