package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"berth/internal/sys"
)

// trashMark stands in the names of temporary folders that hold nothing but
// what is to be removed.
const trashMark = "-trash-"

// Temp is a folder for something half-made. It lies below tmp/ of the data
// root, so its contents can be renamed into place, and carries its owner in
// its name, so that others know when they may sweep it.
type Temp struct {
	dir  *Dir
	path string
}

// Temp makes a new temporary folder owned by this process.
func (d *Dir) Temp() (*Temp, error) { return d.temp("-") }

// Trash makes a temporary folder to rename things into that are to be removed.
func (d *Dir) Trash() (*Temp, error) { return d.temp(trashMark) }

func (d *Dir) temp(mark string) (*Temp, error) {
	p, err := os.MkdirTemp(d.Path("tmp"), Self().String()+mark)
	if err != nil {
		return nil, err
	}
	return &Temp{dir: d, path: p}, nil
}

// Path joins elements below the temporary folder.
func (t *Temp) Path(elem ...string) string {
	return filepath.Join(append([]string{t.path}, elem...)...)
}

// Close removes the folder and all that is still in it.
func (t *Temp) Close() error { return sys.RemoveAll(t.path) }

// CloseLater has a folder made by [Dir.Trash] removed by another process, if
// the face has said how to start one, and does not wait for it. Until that
// process has taken the folder over it is that of this one; so whoever is
// killed at whatever moment, the folder belongs to a living process that
// removes it, or anybody may sweep it.
func (t *Temp) CloseLater() error {
	if t.dir.later != nil && t.dir.later(filepath.Base(t.path)) == nil {
		return nil
	}
	return t.Close()
}

// RemoveLater says how to start a process that calls [Dir.Adopt] with the name
// it is given, and goes on when this one has ended.
func (d *Dir) RemoveLater(start func(name string) error) { d.later = start }

// Adopt makes a folder with trash that of the calling process, which is to
// close it. The folder may be gone: somebody else was faster.
func (d *Dir) Adopt(name string) (*Temp, error) {
	owner, _, ok := strings.Cut(name, trashMark)
	if _, err := ParseOwner(owner); !ok || err != nil || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%q does not name a folder with things to remove", name)
	}
	t, err := d.Trash()
	if err != nil {
		return nil, err
	}
	if err := os.Rename(d.Path("tmp", name), t.Path("gone")); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Discard moves the tree at path out of sight in one rename and then removes
// it, so that a crash leaves either the whole tree or something sweepable. A
// missing tree is no error.
func (d *Dir) Discard(path string) error {
	t, err := d.Trash()
	if err != nil {
		return err
	}
	defer t.Close()
	err = os.Rename(path, t.Path("gone"))
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

// Sweep removes temporary folders whose owner is gone and reports how many
// there were. Temporary files beside records that many share go too; others go
// with the folder they are in.
func (d *Dir) Sweep() (int, error) {
	for _, shared := range []string{"", "names", "oci", "oci/blobs/sha256", "bin"} {
		sweepFiles(d.Path(shared))
	}
	entries, err := os.ReadDir(d.Path("tmp"))
	if err != nil {
		return 0, err
	}
	n := 0
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name(), "-")
		if o, err := ParseOwner(name); err == nil && o.Alive() {
			continue
		}
		t := &Temp{dir: d, path: d.Path("tmp", e.Name())}
		remove := t.Close
		if strings.Contains(e.Name(), trashMark) {
			remove = t.CloseLater // it may hold whole images
		}
		if err := remove(); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
