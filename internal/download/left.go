package download

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/state"
)

// Left is what an unfinished download has left.
type Left struct {
	Digest   string
	Size     int64 // of the blob; 0 when nothing says
	Have     int64 // bytes that the next try need not fetch
	Path     string
	Modified time.Time
	Busy     bool // a download is running
}

// List returns what lies in dir, sorted by digest. A missing folder holds
// nothing.
func List(dir string) ([]Left, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list downloads: %w", err)
	}
	var names []string
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		name := strings.TrimSuffix(e.Name(), ext)
		b, err := hex.DecodeString(name)
		if (ext == ".part" || ext == ".map") && err == nil && len(b) == 32 && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var all []Left
	for _, name := range names {
		if l, ok := inspect(dir, name); ok {
			all = append(all, l)
		}
	}
	return all, nil
}

// inspect looks at one download without disturbing it; ok is false when it has
// just gone.
func inspect(dir, name string) (l Left, ok bool) {
	base := filepath.Join(dir, name)
	l = Left{Digest: "sha256:" + name, Path: base + ".part"}
	var size int64
	if info, err := os.Stat(l.Path); err == nil {
		l.Modified, size, ok = info.ModTime(), info.Size(), true
	}
	f, err := os.Open(base + ".map")
	if err != nil {
		return l, ok
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return l, ok
	}
	if l.Modified.Before(info.ModTime()) {
		l.Modified = info.ModTime()
	}
	// Shared, so that two who look do not see each other.
	l.Busy = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK
	b := make([]byte, headerSize)
	if _, err := io.ReadFull(f, b); err != nil {
		return l, true
	}
	h, good := parseHeader(b)
	if !good || hex.EncodeToString(h.sum[:]) != name {
		return l, true
	}
	l.Size = h.size
	if b, err = io.ReadAll(io.LimitReader(f, h.journalLimit())); err == nil {
		l.Have = count(h, b, size)
	}
	return l, true
}

// count returns how many bytes of a part file of that size the records vouch
// for.
func count(h header, records []byte, size int64) int64 {
	seen := make([]bool, h.chunks())
	var n int64
	parseRecords(h, records, func(r record) {
		i := int(r.index)
		if length := int64(h.length(i)); !seen[i] && int64(i)*h.chunk+length <= size {
			seen[i] = true
			n += length
		}
	})
	return n
}

// Remove removes what unfinished downloads have left, except what keep, which
// may be nil, wants to stay, and what is in use. It returns the bytes that are
// free now on the disk.
func Remove(dir string, keep func(Left) bool) (freed int64, err error) {
	all, err := List(dir)
	if err != nil {
		return 0, err
	}
	for _, l := range all {
		if l.Busy || keep != nil && keep(l) {
			continue
		}
		n, err := removeOne(l.Path)
		if err != nil {
			return freed, fmt.Errorf("cannot remove download %s: %w", l.Digest, err)
		}
		freed += n
	}
	return freed, nil
}

func removeOne(path string) (int64, error) {
	mapPath := strings.TrimSuffix(path, ".part") + ".map"
	lock, err := state.TryLock(mapPath)
	if errors.Is(err, state.ErrLocked) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer lock.Unlock()
	var n int64
	for _, p := range []string{path, mapPath} {
		var st unix.Stat_t
		if unix.Lstat(p, &st) == nil {
			n += st.Blocks * 512
		}
	}
	return n, removeFiles(path, mapPath)
}
