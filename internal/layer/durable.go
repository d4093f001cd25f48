package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/state"
	"berth/internal/store"
	"berth/internal/sys"
)

// bootID names the time since the machine was last switched on; empty if the
// kernel does not say.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Meta returns the record of a layer, or [store.ErrNotFound]. A layer that was
// not synced before the machine went down is read once to see that it is whole.
func (s *Set) Meta(diffID string) (Meta, error) {
	m, err := store.ReadLayerMeta(s.dir, s.kind, diffID)
	if err != nil || m.Unsynced == "" || m.Unsynced == bootID() {
		return m, err
	}
	folder := store.LayerPath(s.dir, s.kind, diffID)
	if err := s.verify(folder, diffID); err != nil {
		return Meta{}, fmt.Errorf("layer %s did not survive that the machine went down (%v): %w", diffID, err, store.ErrNotFound)
	}
	m.Unsynced = ""
	// Where this cannot be written, it is found out again the next time.
	_ = state.WriteJSON(filepath.Join(folder, "meta.json"), m)
	return m, nil
}

// verify reads a layer after the machine went down. Its names and attributes
// came to disk before the name of its folder; contents may be missing.
func (s *Set) verify(folder, diffID string) error {
	if _, err := readOwners(filepath.Join(folder, "tree")); err != nil {
		return err
	}
	return s.remake(context.Background(), diffID, io.Discard)
}

// Settle brings to disk what was added without waiting for it, one layer after
// the other, never the whole file system. It is meant for when nobody waits any
// more. If it does not get to its end, the next start of the machine costs a
// look at the layers; see [Set.Meta].
func (s *Set) Settle(ctx context.Context) error {
	entries, err := os.ReadDir(s.dir.Path(string(s.kind)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // none of the kind yet
	}
	if err != nil {
		return err
	}
	boot := bootID()
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := store.ReadLayerMeta(s.dir, s.kind, "sha256:"+e.Name())
		if err != nil || m.Unsynced == "" || m.Unsynced != boot {
			continue // no layer, or done, or left to who needs it
		}
		if err := settle(ctx, s.dir.Path(string(s.kind), e.Name()), m); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot sync layer %s: %w", m.DiffID, err)
		}
	}
	return nil
}

// settleOne syncs a layer that was just added, and its name.
func (s *Set) settleOne(ctx context.Context, diffID string) error {
	m, err := s.Meta(diffID)
	if err == nil && m.Unsynced != "" {
		err = settle(ctx, store.LayerPath(s.dir, s.kind, diffID), m)
	}
	if err == nil {
		err = syncDir(s.dir.Path(string(s.kind)))
	}
	if err != nil {
		return fmt.Errorf("cannot sync layer %s: %w", diffID, err)
	}
	return nil
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// settle syncs the layer in a folder and then says so in its record. All goes
// by the folder's descriptor: should somebody exchange the layer meanwhile, the
// new one's record stays what it is.
func settle(ctx context.Context, folder string, m Meta) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := syncTree(ctx, int(f.Fd())); err != nil {
		return err
	}
	m.Unsynced = ""
	// Its sync commits the names and attributes of the files, too.
	if err := state.WriteJSON(filepath.Join(procPath(int(f.Fd())), "meta.json"), m); err != nil {
		return err
	}
	return f.Sync()
}

// syncTree brings the contents of all files below a folder to disk. On ext4
// and xfs it waits for the contents only: what the journal holds of them
// is committed by the next sync of any file, which its caller does. Others
// promise less, so they are asked for all they have.
func syncTree(ctx context.Context, dir int) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(dir, &st); err != nil {
		return err
	}
	switch st.Type {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return nil
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC:
		w := &flusher{ctx: ctx}
		err := w.folder(dir, 0)
		return errors.Join(err, w.flush())
	}
	return unix.Syncfs(dir)
}

// flushBatch is how many files are being written at a time: enough for a disk
// to choose a good order, few enough to have open.
const flushBatch = 128

// flusher starts writing files and then waits for them.
type flusher struct {
	ctx   context.Context
	files []int
}

func (w *flusher) folder(dir, depth int) error {
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			err = w.file(dir, name)
		case unix.S_IFDIR:
			err = w.sub(dir, name, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *flusher) sub(dir int, name string, depth int) error {
	if depth > maxDepth+2 {
		return errDepth
	}
	fd, err := sys.OpenAt(dir, name, openDir, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return w.folder(fd, depth+1)
}

func (w *flusher) file(dir int, name string) error {
	fd, err := sys.OpenAt(dir, name, openFile, 0)
	if err != nil {
		return err
	}
	w.files = append(w.files, fd)
	if err := unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE); err != nil {
		return err
	}
	if len(w.files) < flushBatch {
		return nil
	}
	return w.flush()
}

// flush waits until all files so far are written.
func (w *flusher) flush() error {
	var first error
	for _, fd := range w.files {
		err := unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
		if e := unix.Close(fd); err == nil {
			err = e
		}
		if first == nil {
			first = err
		}
	}
	w.files = w.files[:0]
	return first
}
