package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// NameInUseError says that a name belongs to something else.
type NameInUseError struct{ Name, ID string }

func (e *NameInUseError) Error() string {
	return fmt.Sprintf("the name %q is in use by %s", e.Name, e.ID)
}

// Names is a folder in which the file NAME holds "ID OWNER". The file appears
// whole by link(2), so two processes cannot both get a name and a reader never
// sees an empty one.
type Names struct {
	dir  *Dir
	path string
	live func(id string) bool
}

// Names returns the name folder called sub. The function live tells whether
// the thing an ID stands for exists; a name without one, whose claimer is
// dead, is left over from a crash and free to take.
func (d *Dir) Names(sub string, live func(id string) bool) *Names {
	return &Names{dir: d, path: d.Path(sub), live: live}
}

// Claim binds name to id or answers [*NameInUseError].
func (n *Names) Claim(name, id string) error {
	tmp, err := createTemp(n.path, "claim")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(id + " " + Self().String() + "\n")
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	target := filepath.Join(n.path, name)
	for range 100 {
		err = os.Link(tmp.Name(), target)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		taken, err := n.clearStale(name)
		if err != nil {
			return err
		}
		if taken != "" {
			return &NameInUseError{Name: name, ID: taken}
		}
	}
	return fmt.Errorf("cannot claim the name %q", name)
}

// clearStale removes a name left by a crash; it returns the ID that rightly
// holds it otherwise. The lock keeps two cleaners from removing a name that
// one of them has just seen claimed anew.
func (n *Names) clearStale(name string) (heldBy string, err error) {
	tx, err := Lock(filepath.Join(n.path, ".lock"))
	if err != nil {
		return "", err
	}
	defer tx.Unlock()
	id, owner, err := n.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if owner.Alive() || n.live(id) {
		return id, nil
	}
	return "", os.Remove(filepath.Join(n.path, name))
}

func (n *Names) read(name string) (string, Owner, error) {
	b, err := os.ReadFile(filepath.Join(n.path, name))
	if err != nil {
		return "", Owner{}, err
	}
	id, rest, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	o, _ := ParseOwner(rest)
	return id, o, nil
}

// Lookup returns the ID that name stands for, or [fs.ErrNotExist].
func (n *Names) Lookup(name string) (string, error) {
	if name == "" || name[0] == '.' || strings.Contains(name, "/") {
		return "", fs.ErrNotExist
	}
	id, _, err := n.read(name)
	if err == nil && !n.live(id) {
		return "", fs.ErrNotExist
	}
	return id, err
}

// Release frees name if it still stands for id.
func (n *Names) Release(name, id string) error {
	tx, err := Lock(filepath.Join(n.path, ".lock"))
	if err != nil {
		return err
	}
	defer tx.Unlock()
	got, _, err := n.read(name)
	if errors.Is(err, fs.ErrNotExist) || got != id {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(filepath.Join(n.path, name))
}

// Clear frees name if it is left over from a crash.
func (n *Names) Clear(name string) error {
	_, err := n.clearStale(name)
	return err
}

// Claimed reports whether the process that claimed name is still alive.
func (n *Names) Claimed(name string) bool {
	_, owner, err := n.read(name)
	return err == nil && owner.Alive()
}
