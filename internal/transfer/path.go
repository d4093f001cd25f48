package transfer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Docker's rules of copying, which are older than this program and not always
// those of cp(1). A path that ends in "/." means the contents of a folder, one
// that ends in "/" must be a folder.

// Errors of copies that cannot be, in Docker's words.
var (
	ErrCannotCopyDir = errors.New("cannot copy directory")
	ErrNoDir         = errors.New("no such directory")
	ErrNotDir        = errors.New("not a directory")
)

// Source is what is copied.
type Source struct {
	Path  string
	IsDir bool
	Name  string // what it is called in the stream; "." for the contents of a folder
}

// Target is where it is copied to.
type Target struct {
	Path   string
	Exists bool
	IsDir  bool
}

// Place says into which folder the stream goes, and how its first entry must
// be called there.
func (t Target) Place(s Source) (dir, name string, err error) {
	switch {
	case t.Exists && t.IsDir:
		return t.Path, s.Name, nil
	case t.Exists && s.IsDir:
		return "", "", ErrCannotCopyDir
	case !t.Exists && !s.IsDir && meansFolder(t.Path):
		return "", "", ErrNoDir
	}
	dir, name = splitEntry(t.Path)
	return dir, name, nil
}

// meansFolder reports whether a path can only name a folder.
func meansFolder(p string) bool {
	return strings.HasSuffix(p, "/") || filepath.Base(p) == "."
}

// splitEntry is [filepath.Split] that keeps "." as a name of its own.
func splitEntry(p string) (dir, base string) {
	if filepath.Base(p) == "." {
		return filepath.Clean(p), "."
	}
	p = filepath.Clean(p)
	return filepath.Dir(p), filepath.Base(p)
}

// EntryName is how what a path names is called in a stream: its last part, "."
// when only the contents are meant, nothing for "/".
func EntryName(p string) string {
	switch base := filepath.Base(p); {
	case base == "." || base == "..":
		return "."
	case base == "/":
		return ""
	default:
		return base
	}
}

// Absolute makes a path of ours absolute and keeps how it ends.
func Absolute(p string) (string, error) {
	abs, err := filepath.Abs(p)
	if err != nil {
		return "", err
	}
	return keepEnd(abs, p), nil
}

func keepEnd(clean, p string) string {
	switch {
	case filepath.Base(p) == "." && filepath.Base(clean) != ".":
		return strings.TrimSuffix(clean, "/") + "/."
	case strings.HasSuffix(p, "/") && !strings.HasSuffix(clean, "/"):
		return clean + "/"
	}
	return clean
}

// LocalSource looks at what is to be copied from here. With follow a link
// counts as what it leads to, under its own name.
func LocalSource(p string, follow bool) (Source, error) {
	name := EntryName(p)
	if name == "" {
		name = "."
	}
	resolved, err := "", error(nil)
	if follow || meansFolder(p) {
		resolved, err = filepath.EvalSymlinks(p)
	} else {
		var dir string
		d, base := filepath.Split(p)
		dir, err = filepath.EvalSymlinks(d)
		resolved = filepath.Join(dir, base)
	}
	if err != nil {
		return Source{}, err
	}
	fi, err := os.Lstat(resolved)
	if err != nil {
		return Source{}, err
	}
	if meansFolder(p) && !fi.IsDir() {
		return Source{}, ErrNotDir
	}
	return Source{Path: resolved, IsDir: fi.IsDir(), Name: name}, nil
}

// LocalTarget looks at where something is to be copied to here. Links are
// followed; the last one may lead to nothing, which is then made.
func LocalTarget(p string) (Target, error) {
	for range maxLinks {
		fi, err := os.Lstat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			dir, _ := splitEntry(p)
			parent, err := os.Stat(dir)
			if err == nil && !parent.IsDir() {
				err = ErrNotDir
			}
			return Target{Path: p}, err
		case err != nil:
			return Target{}, err
		case fi.Mode()&fs.ModeSymlink == 0:
			return Target{Path: p, Exists: true, IsDir: fi.IsDir()}, nil
		}
		to, err := os.Readlink(p)
		if err != nil {
			return Target{}, err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(filepath.Clean(p)), to)
		}
		p = to
	}
	return Target{}, &fs.PathError{Op: "open", Path: p, Err: unix.ELOOP}
}

// CheckOutput refuses places of ours that nothing can be copied to.
func CheckOutput(p string) error {
	dir := filepath.Dir(filepath.Clean(p))
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return errors.New("invalid output path: directory " + quote(dir) + " does not exist")
	}
	fi, err := os.Stat(p)
	if err != nil {
		return nil
	}
	if err := CheckMode(fi.Mode()); err != nil {
		return errors.New("invalid output path: " + quote(p) + " must be a directory or a regular file: " + err.Error())
	}
	return nil
}

// CheckMode refuses what is neither a file nor a folder.
func CheckMode(m fs.FileMode) error {
	switch {
	case m&fs.ModeDevice != 0:
		return errors.New("got a device")
	case m&fs.ModeIrregular != 0:
		return errors.New("got an irregular file")
	}
	return nil
}
