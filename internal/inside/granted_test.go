package inside

import (
	"bytes"
	"os"
	"testing"

	"berth/internal/host"
	"berth/internal/layer"
	"berth/internal/store"
	"berth/internal/userns"
)

// TestGranted: layers go aside when the account has other ids, stay when it has
// more, and come back with theirs.
func TestGranted(t *testing.T) {
	if !asAccount(t) {
		return
	}
	dir, a := open(t)
	set := layer.OpenKind(dir, store.Ranged, a)
	m, err := set.Add(t.Context(), bytes.NewReader(sample(t)), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	now, err := a.Ranges()
	if err != nil {
		t.Fatal(err)
	}
	row := func(first, size uint32) []userns.Range {
		return []userns.Range{{Outside: account, Size: 1}, {Inside: 1, Outside: first, Size: size}}
	}
	more := userns.Map{UIDs: row(firstUID, 70000), GIDs: now.GIDs}
	others := userns.Map{UIDs: row(600000, 65536), GIDs: row(600000, 65536)}
	for i, c := range []struct {
		ids  userns.Map
		has  bool
		text string
	}{{now, true, "the same"}, {more, true, "more"}, {others, false, "others"}, {others, false, "others, again"}, {more, true, "more, again"}} {
		other := New(host.Host{Rootless: true, UID: account, GID: account}, dir.Root())
		if err := other.settle(c.ids); err != nil || set.Has(m.DiffID) != c.has {
			t.Errorf("%d, %s: %t, %v", i, c.text, set.Has(m.DiffID), err)
		}
		if had, err := readGranted(dir); err != nil || !had.Extends(c.ids) || !c.ids.Extends(had) {
			t.Errorf("%d, %s: noted is %v, %v", i, c.text, had, err)
		}
	}
	if err := os.WriteFile(dir.Path(string(store.Ranged), grantedFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.settle(now); err == nil {
		t.Error("a damaged note is taken for one")
	}
}
