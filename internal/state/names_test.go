package state

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestOneClaimWins: of fifty processes that want a name one gets it, and the
// others are told who.
func TestOneClaimWins(t *testing.T) {
	d := openDir(t)
	// The winner must be seen to exist, or its end frees the name.
	n := d.Names("names", func(string) bool { return true })
	for i := range 50 {
		if err := os.MkdirAll(d.Path("containers", "id"+itoa(i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	said := atOnce(t, 50, d, "claim")
	winner := ""
	for _, s := range said {
		if id, ok := strings.CutPrefix(s, "WON "); ok {
			if winner != "" {
				t.Errorf("both %s and %s won", winner, id)
			}
			winner = id
		}
	}
	for _, s := range said {
		if s != "WON "+winner && s != "LOST to "+winner {
			t.Errorf("%s won, and another heard %q", winner, s)
		}
	}
	if id, err := n.Lookup("web"); err != nil || id != winner {
		t.Errorf("the name stands for %q, %v; %s won", id, err, winner)
	}
	if entries, _ := os.ReadDir(d.Path("names")); len(entries) != 2 {
		t.Errorf("besides the name and the lock there are %v", entries)
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

// TestNameOfKilledClaimer: a name whose claimer was killed before it had made
// anything is free.
func TestNameOfKilledClaimer(t *testing.T) {
	d := openDir(t)
	n := d.Names("names", exists(d))
	cmd, said := begin(t, d, "claim and wait", "first")
	if said != "WON first" {
		t.Fatal(said)
	}
	var used *NameInUseError
	if err := n.Claim("web", "second"); !errors.As(err, &used) || used.ID != "first" || used.Name != "web" {
		t.Errorf("beside its claimer: %v", err)
	}
	if !n.Claimed("web") {
		t.Error("Claimed is false beside the claimer")
	}
	if err := n.Clear("web"); err != nil {
		t.Error(err)
	}
	if err := n.Claim("web", "second"); !errors.As(err, &used) {
		t.Errorf("Clear took a name from a living claimer: %v", err)
	}
	// It is not found until there is something behind it.
	if id, err := n.Lookup("web"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name without anything: %q, %v", id, err)
	}
	kill(cmd)
	if n.Claimed("web") {
		t.Error("Claimed is true after SIGKILL")
	}
	if err := n.Claim("web", "second"); err != nil {
		t.Errorf("after SIGKILL: %v", err)
	}
}

// TestNameOutlivesItsClaimer: with something behind it, it stays taken.
func TestNameOutlivesItsClaimer(t *testing.T) {
	d := openDir(t)
	n := d.Names("names", exists(d))
	cmd, _ := begin(t, d, "claim and wait", "first")
	if err := os.Mkdir(d.Path("containers", "first"), 0o700); err != nil {
		t.Fatal(err)
	}
	kill(cmd)
	var used *NameInUseError
	if err := n.Claim("web", "second"); !errors.As(err, &used) || used.ID != "first" {
		t.Errorf("claimed over a living thing: %v", err)
	}
	if id, err := n.Lookup("web"); err != nil || id != "first" {
		t.Errorf("%q, %v", id, err)
	}
	if err := n.Release("web", "other"); err != nil {
		t.Error(err)
	}
	if id, _ := n.Lookup("web"); id != "first" {
		t.Error("released by one whom it does not stand for")
	}
	if err := n.Release("web", "first"); err != nil {
		t.Error(err)
	}
	if err := n.Release("web", "first"); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if err := n.Claim("web", "second"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", ".lock", "../version", "a/b", "none"} {
		if id, err := n.Lookup(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Lookup(%q) = %q, %v", name, id, err)
		}
	}
}

// TestManyKilledClaims: whenever a claimer is killed, the next one gets the
// name.
func TestManyKilledClaims(t *testing.T) {
	d := openDir(t)
	n := d.Names("names", exists(d))
	for i := range 30 {
		cmd := part(d, "claim and wait", "victim")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * 400 * time.Microsecond)
		kill(cmd)
		if err := n.Claim("web", "me"); err != nil {
			t.Fatalf("after a kill at %d: %v", i, err)
		}
		if err := n.Release("web", "me"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTempAndSweep(t *testing.T) {
	d := openDir(t)
	mine, err := d.Temp()
	if err != nil {
		t.Fatal(err)
	}
	_, said := begin(t, d, "temp and wait", "")
	living := strings.TrimPrefix(said, "TEMP ")
	victim, said := begin(t, d, "temp and wait", "")
	dead := strings.TrimPrefix(said, "TEMP ")
	kill(victim)
	// What nobody can have made goes as well.
	if err := os.Mkdir(d.Path("tmp", "nonsense"), 0o700); err != nil {
		t.Fatal(err)
	}
	if n, err := d.Sweep(); n != 2 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	for path, want := range map[string]bool{mine.Path(): true, living: true, dead: false, d.Path("tmp", "nonsense"): false} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := mine.Close(); err != nil {
		t.Error(err)
	}
	if err := mine.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

func TestSweepAtOnce(t *testing.T) {
	d := openDir(t)
	for range 20 {
		victim, _ := begin(t, d, "temp and wait", "")
		kill(victim)
	}
	errs := make(chan error)
	for range 4 {
		go func() {
			_, err := d.Sweep()
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if left, _ := os.ReadDir(d.Path("tmp")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestDiscard(t *testing.T) {
	d := openDir(t)
	tree := d.Path("containers", "x")
	if err := os.MkdirAll(d.Path("containers", "x", "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(d.Path("containers", "x", "a"), 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Discard(tree); err != nil {
		t.Error(err)
	}
	if err := d.Discard(tree); err != nil {
		t.Errorf("a missing tree: %v", err)
	}
	for _, dir := range []string{"containers", "tmp"} {
		if left, _ := os.ReadDir(d.Path(dir)); len(left) > 0 {
			t.Errorf("left in %s: %v", dir, slices.Collect(func(yield func(string) bool) {
				for _, e := range left {
					if !yield(e.Name()) {
						return
					}
				}
			}))
		}
	}
}
