package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

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

// Temp makes a new temporary folder owned by this process, whose contents can
// be renamed to where layers and volumes are.
func (d *Dir) Temp() (*Temp, error) { return d.TempFor("layers") }

// TempFor makes one whose contents can be renamed into the given part of the
// data root, such as "containers".
func (d *Dir) TempFor(part string) (*Temp, error) { return d.temp(d.TempPath(part), "-") }

// TrashFor makes a temporary folder to rename things of a part of the data root
// into that are to be removed.
func (d *Dir) TrashFor(part string) (*Temp, error) { return d.temp(d.TempPath(part), trashMark) }

func (d *Dir) temp(dir, mark string) (*Temp, error) {
	p, err := os.MkdirTemp(dir, d.self(dir)+mark)
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
func (t *Temp) Close() error {
	err := sys.RemoveAll(t.path)
	if t.dir.inside.remove == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if ierr := t.dir.inside.remove(t.path); ierr != nil {
		return fmt.Errorf("files of other ids stay in %[2]s: %[1]w; an administrator removes them with: sudo rm -rf %[2]s", ierr, t.path)
	}
	return nil
}

// Size adds up the sizes of the plain files of a tree, as far as they can be
// seen.
func (d *Dir) Size(path string) int64 {
	n, all := sys.TreeSize(path)
	if !all && d.inside.size != nil {
		if m, err := d.inside.size(path); err == nil {
			return m
		}
	}
	return n
}

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
	owner, _ = cutTag(owner)
	if _, err := ParseOwner(owner); !ok || err != nil || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%q does not name a folder with things to remove", name)
	}
	var err error
	for _, dir := range d.tempPaths() {
		t, terr := d.temp(dir, trashMark)
		if terr != nil {
			return nil, terr
		}
		if err = os.Rename(filepath.Join(dir, name), t.Path("gone")); err == nil {
			return t, nil
		}
		t.Close()
	}
	return nil, err
}

// Discard moves the tree at path out of sight in one rename and then removes
// it, so that a crash leaves either the whole tree or something sweepable. A
// missing tree is no error. Of a container that goes the other machines are
// told.
func (d *Dir) Discard(path string) error {
	dir := d.TempPath("layers")
	if strings.HasPrefix(path, d.Local()+"/") { // which may lie in the root
		dir = d.TempPath("containers")
	}
	id, ofContainer := strings.CutPrefix(path, d.Path("containers")+"/")
	t, err := d.temp(dir, trashMark)
	if err != nil {
		return err
	}
	defer t.Close()
	err = os.Rename(path, t.Path("gone"))
	if ofContainer && (err == nil || os.IsNotExist(err)) {
		d.withdraw(id)
	}
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
		age := time.Duration(0)
		if d.split != nil && d.side(shared) == d.root {
			age = forsaken // it may be another machine's, where that process lives
		}
		sweepFiles(d.Path(shared), age)
	}
	d.sweepAnnounced()
	n := 0
	for _, dir := range d.tempPaths() {
		m, err := d.sweepTemp(dir)
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (d *Dir) sweepTemp(dir string) (n int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, e := range entries {
		t := &Temp{dir: d, path: filepath.Join(dir, e.Name())}
		if d.Lives(t.path) {
			continue
		}
		remove := t.Close
		if strings.Contains(e.Name(), trashMark) {
			remove = t.CloseLater // it may hold whole images
		}
		if err := remove(); err != nil {
			errs = append(errs, err)
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}
