package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"

	"berth/internal/spec"
	"berth/internal/volume"
)

// resolveMounts settles what the container will have mounted.
func (e *Engine) resolveMounts(ctx context.Context, r *record) error {
	req := volume.MountRequest{Binds: r.HostConfig.Binds, Mounts: r.HostConfig.Mounts, Image: r.Config.Volumes, Tmpfs: r.HostConfig.Tmpfs}
	req.Defaults, _ = e.siteMounts()
	for _, from := range r.HostConfig.VolumesFrom {
		points, err := e.volumesFrom(from)
		if err != nil {
			return err
		}
		req.Inherited = append(req.Inherited, points...)
	}
	got, err := e.volumes().Resolve(ctx, req)
	if err != nil {
		return err
	}
	r.Mounts, r.Anonymous, r.Fill = got.Points, got.Anonymous, got.Fill
	return nil
}

// volumesFrom takes over the mounts of another container.
func (e *Engine) volumesFrom(text string) ([]container.MountPoint, error) {
	name, mode, _ := strings.Cut(text, ":")
	id, err := e.find(name)
	if err != nil {
		return nil, err
	}
	other, _, err := e.load(id)
	if err != nil {
		return nil, err
	}
	var out []container.MountPoint
	for _, p := range other.Mounts {
		if p.Type == mount.TypeBind || p.Type == mount.TypeVolume {
			p.RW = p.RW && mode != "ro"
			out = append(out, p)
		}
	}
	return out, nil
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
			opt := volume.Request{Name: p.Name}
			if slices.Contains(r.Anonymous, p.Name) {
				opt.Labels = map[string]string{volume.AnonymousLabel: ""}
			}
			if _, err := e.volumes().Create(ctx, opt); err != nil {
				return err
			}
			e.noteVolume(events.ActionCreate, p.Name)
		}
		if !slices.Contains(r.Fill, p.Name) {
			continue
		}
		if err := e.fillVolume(ctx, r, p); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) fillVolume(ctx context.Context, r *record, p container.MountPoint) error {
	err := e.volumes().Fill(p.Name, func(data string) error {
		return e.copyLayers(ctx, r, p.Destination, data)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot fill volume %s from the image: %w", p.Name, err)
	}
	return nil
}

// specMounts is the same list as the specification's builder wants it.
func (e *Engine) specMounts(r *record) []spec.Mount {
	var out []spec.Mount
	for _, p := range r.Mounts {
		if opts, ok := e.volumes().Tmpfs(p.Name); ok && p.Type == mount.TypeVolume {
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
