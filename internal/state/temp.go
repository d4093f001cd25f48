package state

import (
	"os"
	"path/filepath"
	"strings"

	"berth/internal/sys"
)

// Temp is a folder for something half-made. It lies below tmp/ of the data
// root, so its contents can be renamed into place, and carries its owner in
// its name, so that others know when they may sweep it.
type Temp struct{ path string }

// Temp makes a new temporary folder owned by this process.
func (d *Dir) Temp() (*Temp, error) {
	p, err := os.MkdirTemp(d.Path("tmp"), Self().String()+"-")
	if err != nil {
		return nil, err
	}
	return &Temp{path: p}, nil
}

// Path joins elements below the temporary folder.
func (t *Temp) Path(elem ...string) string {
	return filepath.Join(append([]string{t.path}, elem...)...)
}

// Close removes the folder and all that is still in it.
func (t *Temp) Close() error { return sys.RemoveAll(t.path) }

// Discard moves the tree at path out of sight in one rename and then removes
// it, so that a crash leaves either the whole tree or something sweepable. A
// missing tree is no error.
func (d *Dir) Discard(path string) error {
	t, err := d.Temp()
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
	for _, shared := range []string{"", "names", "oci", "bin"} {
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
		if err := sys.RemoveAll(d.Path("tmp", e.Name())); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
