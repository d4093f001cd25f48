package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"berth/internal/errdef"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
)

// MountRequest is what a container asks to have mounted, in Docker's words.
type MountRequest struct {
	Inherited []container.MountPoint // from other containers (--volumes-from)
	Binds     []string               // source:destination[:options], as the face has left it
	Mounts    []mount.Mount
	Image     map[string]struct{} // the image's VOLUMEs
	Tmpfs     map[string]string   // destinations that lie in memory already
	Defaults  []string            // as Binds; they give way to all others
}

// Mounts is the answer: what to mount, sorted by destination.
type Mounts struct {
	Points    []container.MountPoint
	Anonymous []string // volumes that go with the container
	Fill      []string // volumes that take the image's content when empty
}

// wanted is one mount of a container under way from words to paths.
type wanted struct {
	point  container.MountPoint
	mount  *mount.Mount // when it came from --mount
	fill   bool         // a volume that takes the image's content when empty
	create bool         // a missing host folder is made
}

// Resolve collects a container's binds, volumes and the image's VOLUMEs. Named
// volumes are made; anonymous ones only get their names, so that a kill leaves
// none behind that belongs to no container.
func (s *Set) Resolve(ctx context.Context, req MountRequest) (Mounts, error) {
	var out Mounts
	ws, err := req.collect()
	if err != nil {
		return out, err
	}
	for i := range ws {
		if err := s.settle(ctx, &out, &ws[i]); err != nil {
			return out, err
		}
		out.Points = append(out.Points, ws[i].point)
	}
	slices.SortFunc(out.Points, func(a, b container.MountPoint) int { return strings.Compare(a.Destination, b.Destination) })
	return out, nil
}

// collect reads the request without touching a file.
func (r *MountRequest) collect() ([]wanted, error) {
	var ws []wanted
	for _, p := range r.Inherited {
		ws = append(ws, wanted{point: p})
	}
	for _, b := range r.Binds {
		w, err := parseBind(b)
		if err != nil {
			return nil, err
		}
		ws = append(ws, w)
	}
	for i := range r.Mounts {
		w, err := fromMount(&r.Mounts[i])
		if err != nil {
			return nil, err
		}
		ws = append(ws, w)
	}
	seen := map[string]bool{}
	for _, w := range ws {
		if seen[w.point.Destination] {
			return nil, &errdef.Error{Kind: errdef.ErrInvalid, Text: "Duplicate mount point: " + w.point.Destination}
		}
		seen[w.point.Destination] = true
	}
	for _, b := range r.Defaults {
		w, err := parseBind(b)
		if err != nil {
			return nil, err
		}
		dest := w.point.Destination
		if _, tmpfs := r.Tmpfs[dest]; !seen[dest] && !tmpfs {
			ws, seen[dest] = append(ws, w), true
		}
	}
	for dest := range r.Image {
		dest = path.Clean(dest)
		if !seen[dest] && r.Tmpfs[dest] == "" && !path.IsAbs(dest) {
			return nil, &errdef.Error{Kind: errdef.ErrInvalid, Text: fmt.Sprintf("the image's volume %q is not an absolute path", dest)}
		}
		if _, tmpfs := r.Tmpfs[dest]; !seen[dest] && !tmpfs {
			ws = append(ws, wanted{point: container.MountPoint{Type: mount.TypeVolume, Destination: dest, RW: true}, fill: true})
		}
	}
	return ws, nil
}

// parseBind reads source:destination[:options] as the face has left it: the
// source absolute, or the name of a volume, or missing.
func parseBind(text string) (wanted, error) {
	bad := func(why string) (wanted, error) {
		return wanted{}, &errdef.Error{Kind: errdef.ErrInvalid, Text: fmt.Sprintf("invalid volume specification: '%s': %s", text, why)}
	}
	parts := strings.Split(text, ":")
	w := wanted{point: container.MountPoint{RW: true, Propagation: mount.PropagationRPrivate}, fill: true}
	src := ""
	switch len(parts) {
	case 1:
		w.point.Destination = parts[0]
	case 2:
		src, w.point.Destination = parts[0], parts[1]
	case 3:
		src, w.point.Destination, w.point.Mode = parts[0], parts[1], parts[2]
	default:
		return bad("too many colons")
	}
	if !path.IsAbs(w.point.Destination) {
		return bad("the path in the container must be absolute")
	}
	if w.point.Destination = path.Clean(w.point.Destination); w.point.Destination == "/" {
		return bad("destination can't be '/'")
	}
	if path.IsAbs(src) {
		w.point.Type, w.point.Source, w.create = mount.TypeBind, filepath.Clean(src), true
	} else {
		w.point.Type, w.point.Name = mount.TypeVolume, src
	}
	for _, o := range strings.Split(w.point.Mode, ",") {
		switch o {
		case "", "rw", "z", "Z", "cached", "delegated", "consistent":
		case "ro":
			w.point.RW = false
		case "nocopy":
			w.fill = false
		case "private", "rprivate", "slave", "rslave", "shared", "rshared":
			w.point.Propagation = mount.Propagation(o)
		default:
			return bad("invalid mode: " + o)
		}
	}
	return w, nil
}

// fromMount reads a --mount.
func fromMount(m *mount.Mount) (wanted, error) {
	bad := func(why string) (wanted, error) {
		return wanted{}, &errdef.Error{Kind: errdef.ErrInvalid, Text: "invalid mount config for type \"" + string(m.Type) + "\": " + why}
	}
	if !path.IsAbs(m.Target) {
		return bad("field Target must be an absolute path")
	}
	w := wanted{mount: m, fill: true, point: container.MountPoint{
		Type: m.Type, Destination: path.Clean(m.Target), RW: !m.ReadOnly,
	}}
	if w.point.Destination == "/" {
		return bad("invalid specification: destination can't be '/'")
	}
	switch m.Type {
	case mount.TypeBind:
		if !path.IsAbs(m.Source) {
			return bad("field Source must be an absolute path")
		}
		w.point.Source = filepath.Clean(m.Source)
		w.point.Propagation = mount.PropagationRPrivate
		if o := m.BindOptions; o != nil {
			if o.Propagation != "" {
				w.point.Propagation = o.Propagation
			}
			w.create = o.CreateMountpoint
		}
	case mount.TypeVolume:
		w.point.Name = m.Source
		if m.VolumeOptions != nil && m.VolumeOptions.NoCopy {
			w.fill = false
		}
		if m.VolumeOptions != nil && m.VolumeOptions.Subpath != "" {
			return bad("volume-subpath is not supported yet")
		}
	case mount.TypeTmpfs:
	default:
		return wanted{}, &errdef.Error{Kind: errdef.ErrNotSupported, Text: fmt.Sprintf("mounts of type %q are not supported: use bind, volume or tmpfs", m.Type)}
	}
	return w, nil
}

// settle makes sure that the source of a mount exists.
func (s *Set) settle(ctx context.Context, out *Mounts, w *wanted) error {
	p := &w.point
	switch p.Type {
	case mount.TypeBind:
		_, err := os.Stat(p.Source)
		if errors.Is(err, fs.ErrNotExist) && w.create {
			err = os.MkdirAll(p.Source, 0o755)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return &errdef.Error{Kind: errdef.ErrInvalid, Text: fmt.Sprintf("invalid mount config for type \"bind\": bind source path does not exist: %s", p.Source)}
		}
		if err != nil {
			return fmt.Errorf("cannot mount %s: %w", p.Source, err)
		}
	case mount.TypeVolume:
		if p.Source != "" {
			return nil // taken over from another container
		}
		if p.Name == "" {
			p.Name, p.Driver = newName(), Driver
			p.Source = s.Data(p.Name)
			out.Anonymous = append(out.Anonymous, p.Name)
			break
		}
		v, err := s.Create(ctx, requestFor(p.Name, w.mount))
		if err != nil {
			return err
		}
		p.Name, p.Source, p.Driver = v.Name, v.Mountpoint, v.Driver
	}
	if p.Type == mount.TypeVolume && w.fill {
		out.Fill = append(out.Fill, p.Name)
	}
	return nil
}

func requestFor(name string, m *mount.Mount) Request {
	o := Request{Name: name}
	if m != nil && m.VolumeOptions != nil {
		o.Labels = m.VolumeOptions.Labels
		if d := m.VolumeOptions.DriverConfig; d != nil {
			o.Driver, o.DriverOpts = d.Name, d.Options
		}
	}
	return o
}
