package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func fullTrash(t *testing.T, d *Dir) *Temp {
	t.Helper()
	tmp, err := d.TrashFor("layers")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(tmp.Path("layer", "tree"), 0o755); err != nil {
		t.Fatal(err)
	}
	return tmp
}

func leftIn(d *Dir) []string {
	left, _ := filepath.Glob(d.Path("tmp", "*"))
	return left
}

func TestCloseLater(t *testing.T) {
	d := openDir(t)
	if err := fullTrash(t, d).CloseLater(); err != nil || len(leftIn(d)) > 0 {
		t.Errorf("without a remover: %v, left %q", err, leftIn(d))
	}
	d.RemoveLater(func(string) error { return errors.New("no more processes") })
	if err := fullTrash(t, d).CloseLater(); err != nil || len(leftIn(d)) > 0 {
		t.Errorf("with a remover that does not start: %v, left %q", err, leftIn(d))
	}
	var asked string
	d.RemoveLater(func(name string) error { asked = name; return nil })
	trash := fullTrash(t, d)
	if err := trash.CloseLater(); err != nil {
		t.Fatal(err)
	}
	if left := leftIn(d); len(left) != 1 || filepath.Base(left[0]) != asked {
		t.Fatalf("asked to remove %q, there is %q", asked, left)
	}
	mine, err := d.Adopt(asked)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mine.Path("gone", "layer", "tree")); err != nil {
		t.Error(err)
	}
	if _, err := d.Adopt(asked); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("adopted a second time: %v", err)
	}
	if err := mine.Close(); err != nil || len(leftIn(d)) > 0 {
		t.Errorf("%v, left %q", err, leftIn(d))
	}
}

// Only what is meant to go can be adopted.
func TestAdoptRefuses(t *testing.T) {
	d := openDir(t)
	tmp, err := d.Temp()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Base(tmp.Path()), "", "..", "x-trash-1", "../" + Self().String() + "-trash-1", Self().String() + "-trash-/../../layers"} {
		if _, err := d.Adopt(name); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if len(leftIn(d)) != 1 {
		t.Errorf("%q", leftIn(d))
	}
}

// Trash of a process that was killed is handed on, not removed while somebody
// waits; anything else goes at once.
func TestSweepHandsTrashOn(t *testing.T) {
	d := openDir(t)
	victim, _ := begin(t, d, "temp and wait", "")
	owner, _ := OwnerOf(victim.Process.Pid)
	kill(victim)
	name := owner.String() + trashMark + "1"
	if err := os.Mkdir(d.Path("tmp", name), 0o700); err != nil {
		t.Fatal(err)
	}
	var asked []string
	d.RemoveLater(func(name string) error { asked = append(asked, name); return nil })
	if n, err := d.Sweep(); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if len(asked) != 1 || asked[0] != name {
		t.Errorf("asked for %q", asked)
	}
	if left := leftIn(d); len(left) != 1 || !strings.HasSuffix(left[0], name) {
		t.Errorf("left %q", left)
	}
}
