package engine

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

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"berth/internal/spec"
)

// wanted is one mount of a container under way from words to paths.
type wanted struct {
	point  container.MountPoint
	mount  *mount.Mount // when it came from --mount
	fill   bool         // a volume that takes the image's content when empty
	create bool         // a missing host folder is made
}

// resolveMounts collects a container's binds, volumes and the image's VOLUMEs.
// Named volumes are made; anonymous ones only get their names, which are
// listed for removal with the container.
func (e *Engine) resolveMounts(ctx context.Context, r *record) error {
	var ws []wanted
	for _, from := range r.HostConfig.VolumesFrom {
		more, err := e.volumesFrom(from)
		if err != nil {
			return err
		}
		ws = append(ws, more...)
	}
	for _, b := range r.HostConfig.Binds {
		w, err := parseBind(b)
		if err != nil {
			return err
		}
		ws = append(ws, w)
	}
	for i := range r.HostConfig.Mounts {
		w, err := fromMount(&r.HostConfig.Mounts[i])
		if err != nil {
			return err
		}
		ws = append(ws, w)
	}
	seen := map[string]bool{}
	for _, w := range ws {
		if seen[w.point.Destination] {
			return &Error{Kind: ErrInvalid, Text: "Duplicate mount point: " + w.point.Destination}
		}
		seen[w.point.Destination] = true
	}
	for dest := range r.Config.Volumes {
		dest = path.Clean(dest)
		if !seen[dest] && r.HostConfig.Tmpfs[dest] == "" && !path.IsAbs(dest) {
			return &Error{Kind: ErrInvalid, Text: fmt.Sprintf("the image's volume %q is not an absolute path", dest)}
		}
		if _, tmpfs := r.HostConfig.Tmpfs[dest]; !seen[dest] && !tmpfs {
			ws = append(ws, wanted{point: container.MountPoint{Type: mount.TypeVolume, Destination: dest, RW: true}, fill: true})
		}
	}
	for i := range ws {
		if err := e.settleMount(ctx, r, &ws[i]); err != nil {
			return err
		}
		r.Mounts = append(r.Mounts, ws[i].point)
	}
	slices.SortFunc(r.Mounts, func(a, b container.MountPoint) int { return strings.Compare(a.Destination, b.Destination) })
	return nil
}

// volumesFrom takes over the mounts of another container.
func (e *Engine) volumesFrom(text string) ([]wanted, error) {
	name, mode, _ := strings.Cut(text, ":")
	id, err := e.find(name)
	if err != nil {
		return nil, err
	}
	other, _, err := e.load(id)
	if err != nil {
		return nil, err
	}
	var ws []wanted
	for _, p := range other.Mounts {
		if p.Type == mount.TypeBind || p.Type == mount.TypeVolume {
			p.RW = p.RW && mode != "ro"
			ws = append(ws, wanted{point: p})
		}
	}
	return ws, nil
}

// parseBind reads source:destination[:options] as the face has left it: the
// source absolute, or the name of a volume, or missing.
func parseBind(text string) (wanted, error) {
	bad := func(why string) (wanted, error) {
		return wanted{}, &Error{Kind: ErrInvalid, Text: fmt.Sprintf("invalid volume specification: '%s': %s", text, why)}
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
		return wanted{}, &Error{Kind: ErrInvalid, Text: "invalid mount config for type \"" + string(m.Type) + "\": " + why}
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
		return wanted{}, &Error{Kind: ErrNotSupported, Text: fmt.Sprintf("mounts of type %q are not supported: use bind, volume or tmpfs", m.Type)}
	}
	return w, nil
}

// settleMount makes sure that the source of a mount exists.
func (e *Engine) settleMount(ctx context.Context, r *record, w *wanted) error {
	p := &w.point
	switch p.Type {
	case mount.TypeBind:
		_, err := os.Stat(p.Source)
		if errors.Is(err, fs.ErrNotExist) && w.create {
			err = os.MkdirAll(p.Source, 0o755)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return &Error{Kind: ErrInvalid, Text: fmt.Sprintf("invalid mount config for type \"bind\": bind source path does not exist: %s", p.Source)}
		}
		if err != nil {
			return fmt.Errorf("cannot mount %s: %w", p.Source, err)
		}
	case mount.TypeVolume:
		if p.Source != "" {
			return nil // taken over from another container
		}
		if p.Name == "" {
			p.Name, p.Driver = newID(), "local"
			p.Source = e.dir.Path("volumes", p.Name, "_data")
			r.Anonymous = append(r.Anonymous, p.Name)
			break
		}
		v, err := e.VolumeCreate(ctx, volumeRequest(p.Name, w.mount))
		if err != nil {
			return err
		}
		p.Name, p.Source, p.Driver = v.Name, v.Mountpoint, v.Driver
	}
	if p.Type == mount.TypeVolume && w.fill {
		r.Fill = append(r.Fill, p.Name)
	}
	return nil
}

func volumeRequest(name string, m *mount.Mount) VolumeCreateOptions {
	o := VolumeCreateOptions{Name: name}
	if m != nil && m.VolumeOptions != nil {
		o.Labels = m.VolumeOptions.Labels
		if d := m.VolumeOptions.DriverConfig; d != nil {
			o.Driver, o.DriverOpts = d.Name, d.Options
		}
	}
	return o
}

// ensureVolumes makes the container's volumes that are not there, and copies
// into an empty one what the image has at its place, as Docker does at first
// use. It runs when the container is listed already, and again at each start,
// so that no volume can be left over by a kill in between.
func (e *Engine) ensureVolumes(ctx context.Context, r *record) error {
	for _, p := range r.Mounts {
		if p.Type != mount.TypeVolume {
			continue
		}
		if _, err := os.Stat(p.Source); errors.Is(err, fs.ErrNotExist) {
			opt := VolumeCreateOptions{Name: p.Name}
			if slices.Contains(r.Anonymous, p.Name) {
				opt.Labels = map[string]string{anonymousLabel: ""}
			}
			if _, err := e.VolumeCreate(ctx, opt); err != nil {
				return err
			}
		}
		if !slices.Contains(r.Fill, p.Name) {
			continue
		}
		if entries, err := os.ReadDir(p.Source); err != nil || len(entries) > 0 {
			continue
		}
		if err := e.fillVolume(r, p); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) fillVolume(r *record, p container.MountPoint) error {
	view, err := e.view(r.Layers)
	if err != nil {
		return err
	}
	defer view.Close()
	err = view.CopyOut(p.Destination, p.Source)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot fill volume %s from the image: %w", p.Name, err)
	}
	return nil
}

// specMounts is the same list as the specification's builder wants it.
func (e *Engine) specMounts(r *record) []spec.Mount {
	var out []spec.Mount
	for _, p := range r.Mounts {
		if opts, ok := e.volumeTmpfs(p.Name); ok && p.Type == mount.TypeVolume {
			out = append(out, spec.Mount{Type: "tmpfs", Destination: p.Destination, ReadOnly: !p.RW, TmpfsOptions: opts})
			continue
		}
		m := spec.Mount{Type: "bind", Source: p.Source, Destination: p.Destination, ReadOnly: !p.RW, Propagation: string(p.Propagation)}
		if p.Type == mount.TypeTmpfs {
			m = spec.Mount{Type: "tmpfs", Destination: p.Destination, ReadOnly: !p.RW}
		}
		for i := range r.HostConfig.Mounts {
			if o := &r.HostConfig.Mounts[i]; path.Clean(o.Target) == p.Destination {
				refine(&m, o)
			}
		}
		out = append(out, m)
	}
	for dest, opts := range r.HostConfig.Tmpfs {
		out = append(out, spec.Mount{Type: "tmpfs", Destination: path.Clean(dest), TmpfsOptions: opts})
	}
	slices.SortFunc(out, func(a, b spec.Mount) int { return strings.Compare(a.Destination, b.Destination) })
	return out
}

func refine(m *spec.Mount, o *mount.Mount) {
	if b := o.BindOptions; b != nil {
		m.NonRecursive = b.NonRecursive
		m.ReadOnlyNonRecursive = b.ReadOnlyNonRecursive
		m.ReadOnlyForceRecursive = b.ReadOnlyForceRecursive
	}
	if t := o.TmpfsOptions; t != nil {
		var opts []string
		if t.SizeBytes > 0 {
			opts = append(opts, fmt.Sprintf("size=%d", t.SizeBytes))
		}
		if t.Mode != 0 {
			opts = append(opts, fmt.Sprintf("mode=%o", t.Mode.Perm()|t.Mode&0o7000))
		}
		for _, kv := range t.Options {
			opts = append(opts, strings.Join(kv, "="))
		}
		m.TmpfsOptions = strings.Join(opts, ",")
	}
}
