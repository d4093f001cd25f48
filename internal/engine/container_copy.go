package engine

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	"golang.org/x/sys/unix"

	"berth/internal/host"
	"berth/internal/state"
	"berth/internal/transfer"
)

// Files is the open tree of a container, for one copy.
type Files struct {
	*transfer.Session
	lock *state.Tx // of a container that does not run, so that it stays so
	// still turns a success into an error if the container was removed.
	still func(error) error
	note  func(events.Action)
}

// CopyOut is [transfer.Session.CopyOut].
func (f *Files) CopyOut(ctx context.Context, src, dst string, opt CopyOptions) (CopyResult, error) {
	f.note(events.ActionArchivePath)
	res, err := f.Session.CopyOut(ctx, src, dst, opt)
	return res, f.still(err)
}

// StreamOut is [transfer.Session.StreamOut].
func (f *Files) StreamOut(ctx context.Context, src string, w io.Writer, opt CopyOptions) error {
	f.note(events.ActionArchivePath)
	return f.still(f.Session.StreamOut(ctx, src, w, opt))
}

// CopyIn is [transfer.Session.CopyIn].
func (f *Files) CopyIn(ctx context.Context, src, dst string, opt CopyOptions) (CopyResult, error) {
	f.note(events.ActionExtractToDir)
	return f.Session.CopyIn(ctx, src, dst, opt)
}

// StreamIn is [transfer.Session.StreamIn].
func (f *Files) StreamIn(ctx context.Context, r io.Reader, dst string, opt CopyOptions) (CopyResult, error) {
	f.note(events.ActionExtractToDir)
	return f.Session.StreamIn(ctx, r, dst, opt)
}

// Close closes the tree.
func (f *Files) Close() {
	f.Session.Close()
	f.lock.Unlock()
}

// patience is how long a container may take to come back from a restart.
const patience = 10 * time.Second

// ContainerFiles opens the tree of a container as the container sees it, with
// its volumes and binds, be it running or not.
func (e *Engine) ContainerFiles(ctx context.Context, ref string) (*Files, error) {
	id, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	for start := time.Now(); ; {
		f, err := e.tryFiles(ctx, id)
		if f != nil && err == nil {
			f.still = func(err error) error { return e.stillThere(id, err) }
			f.note = func(action events.Action) {
				if r, _, err := e.load(id); err == nil {
					e.noteContainer(r, action)
				}
			}
		}
		if f != nil || err != nil {
			return f, err
		}
		// It has started or ended while we looked.
		if time.Since(start) > patience {
			return nil, restarting(id)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (e *Engine) tryFiles(ctx context.Context, id string) (*Files, error) {
	r, st, err := e.load(id)
	if err != nil {
		return nil, err
	}
	if !active(st) {
		return e.stoppedFiles(ctx, id)
	}
	if !lives(st) {
		return nil, nil
	}
	root, err := transfer.RootOf(st.Init.Pid, st.Init.Alive, mountPoints(r))
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !e.host.Rootless {
		return &Files{Session: transfer.Local(root)}, nil
	}
	spaces, err := e.transferSpaces(r)
	if err != nil {
		root.Close()
		return nil, err
	}
	s, err := transfer.Attach(ctx, root, spaces)
	if err != nil {
		return nil, transferError(err)
	}
	return &Files{Session: s}, nil
}

// stoppedFiles mounts what a start would. It answers nil when the container was
// started meanwhile.
func (e *Engine) stoppedFiles(ctx context.Context, id string) (_ *Files, err error) {
	tx, err := e.lock(id)
	if err != nil {
		return nil, err
	}
	f := &Files{lock: tx}
	defer func() {
		if f == nil || err != nil {
			tx.Unlock()
		}
	}()
	r, st, err := e.load(id)
	if err != nil {
		return nil, err
	}
	if active(st) {
		f = nil
		return nil, nil
	}
	if err := e.settle(tx, id, st); err != nil {
		return nil, err
	}
	if err := e.ensureVolumes(ctx, r); err != nil {
		return nil, err
	}
	l, err := e.layout(r)
	if err != nil {
		return nil, err
	}
	spaces, err := e.transferSpaces(r)
	if err != nil {
		return nil, err
	}
	if f.Session, err = transfer.Start(ctx, l, spaces); err != nil {
		return nil, transferError(err)
	}
	return f, nil
}

// transferError explains that a namespace was refused.
func transferError(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EUSERS) {
		return host.ExplainUserns(err)
	}
	return err
}

// mountPoints are the places of a container that do not belong to its root.
func mountPoints(r *record) []string {
	var out []string
	for _, p := range r.Mounts {
		out = append(out, p.Destination)
	}
	return out
}

// layout says what the tree of a container that does not run is made of. What
// lies in memory is gone, so there is nothing to show.
func (e *Engine) layout(r *record) (transfer.Layout, error) {
	root, err := e.rootfs(r)
	if err != nil {
		return transfer.Layout{}, err
	}
	l := transfer.Layout{
		Base: root.Base, Target: root.Target, Lower: root.Lower, Upper: root.Upper, Work: root.Work,
		UserXattr: root.UserXattr, ReadOnly: r.HostConfig.ReadonlyRootfs,
	}
	add := func(source, dest string, readOnly bool) {
		fi, err := os.Stat(source)
		if errors.Is(err, fs.ErrNotExist) || slices.ContainsFunc(l.Mounts, func(m transfer.Mount) bool { return m.Destination == dest }) {
			return // a container that never ran has no hosts file yet, and others bring one
		}
		l.Mounts = append(l.Mounts, transfer.Mount{Source: source, Destination: dest, ReadOnly: readOnly, File: err == nil && !fi.IsDir()})
	}
	for _, p := range r.Mounts {
		if _, memory := e.volumes().Tmpfs(p.Name); p.Type == mount.TypeTmpfs || memory {
			continue
		}
		source, err := filepath.EvalSymlinks(p.Source) // a volume elsewhere is a link
		if err != nil {
			return l, err
		}
		add(source, p.Destination, !p.RW)
	}
	for file, dest := range map[string]string{hostsFile: "/etc/hosts", resolvFile: "/etc/resolv.conf", hostnameFile: "/etc/hostname"} {
		add(e.containerDir(r.ID, file), dest, false)
	}
	return l, nil
}

// CopyOptions and CopyResult are those of a copy between a container and here.
type (
	CopyOptions = transfer.Options
	CopyResult  = transfer.Result
)
