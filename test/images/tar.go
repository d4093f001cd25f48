package images

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Entry is one member of a hand-written layer. The zero Type is a file, or a
// folder when Name ends in "/".
type Entry struct {
	Name string
	Type byte
	Mode int64 // 0: 0644, folders and programs 0755
	Body string
	Link string
	UID  int
	GID  int
	Dev  [2]int64
	PAX  map[string]string
}

var epoch = time.Unix(1700000000, 0)

// Tar writes entries as they are, in order, without asking whether they make
// sense.
func Tar(entries ...Entry) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{
			Name: e.Name, Typeflag: e.Type, Mode: e.Mode, Linkname: e.Link, Uid: e.UID, Gid: e.GID,
			Devmajor: e.Dev[0], Devminor: e.Dev[1], ModTime: epoch, PAXRecords: e.PAX,
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
			if strings.HasSuffix(e.Name, "/") {
				h.Typeflag = tar.TypeDir
			}
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(e.Body))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir || strings.HasPrefix(e.Body, "#!") {
				h.Mode = 0o755
			}
		}
		if err := w.WriteHeader(h); err != nil {
			panic("test image: " + e.Name + ": " + err.Error())
		}
		if h.Typeflag == tar.TypeReg {
			io.WriteString(w, e.Body) // into memory
		}
	}
	w.Close()
	return buf.Bytes()
}

// inode names a file whatever its path, for hard links.
type inode struct{ dev, ino uint64 }

// treeTar writes the folder root as a layer: all of it, or, with a base, what
// differs from base, deletions as whiteouts.
func treeTar(out io.Writer, root, base string, skip func(rel string) bool) error {
	w := tar.NewWriter(out)
	seen := map[inode]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		if skip(rel) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if base != "" && same(info, filepath.Join(base, rel)) {
			return nil
		}
		return writeEntry(w, p, rel, info, seen)
	})
	if err == nil && base != "" {
		err = whiteouts(w, root, base, skip)
	}
	if err != nil {
		return err
	}
	return w.Close()
}

// same reports whether the file at other is an untouched copy of info.
func same(info fs.FileInfo, other string) bool {
	o, err := os.Lstat(other)
	if err != nil {
		return false
	}
	a, b := info.Sys().(*syscall.Stat_t), o.Sys().(*syscall.Stat_t)
	return a.Mode == b.Mode && a.Uid == b.Uid && a.Gid == b.Gid &&
		(info.IsDir() || (a.Size == b.Size && a.Mtim == b.Mtim))
}

func writeEntry(w *tar.Writer, path, rel string, info fs.FileInfo, seen map[inode]string) error {
	var link string
	if info.Mode()&fs.ModeSymlink != 0 {
		var err error
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name = rel
	if info.IsDir() {
		h.Name += "/"
	}
	h.Uname, h.Gname = "", ""
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	h.ModTime = h.ModTime.Truncate(time.Second)
	st := info.Sys().(*syscall.Stat_t)
	if first, ok := seen[inode{st.Dev, st.Ino}]; ok && !info.IsDir() {
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		return w.WriteHeader(h)
	}
	seen[inode{st.Dev, st.Ino}] = rel
	if err := w.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func whiteouts(w *tar.Writer, root, base string, skip func(string) bool) error {
	return filepath.WalkDir(base, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == base {
			return err
		}
		rel, _ := filepath.Rel(base, p)
		if _, err := os.Lstat(filepath.Join(root, rel)); err == nil && !skip(rel) {
			return nil
		}
		if !skip(rel) {
			h := &tar.Header{Name: filepath.Join(filepath.Dir(rel), ".wh."+filepath.Base(rel)), Typeflag: tar.TypeReg, Mode: 0o644, ModTime: epoch}
			if err := w.WriteHeader(h); err != nil {
				return err
			}
		}
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
}
