package inside

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"

	"berth/internal/state"
	"berth/internal/store"
	"berth/internal/userns"
)

// grantedFile is where the folder of the ranged layers says which ids their
// files have.
const grantedFile = "ids.json"

// granted is that file.
type granted struct {
	V   int        `json:"v"`
	IDs userns.Map `json:"ids"`
}

// settle sees to it that ranged layers have the ids that the account has now. An
// administrator may have granted others: what was unpacked before would belong to
// nobody in a container, and nobody but root could remove it. It is put aside,
// and is there again should the old ids come back. Containers get their layers
// made anew, from the plain kind or their registry.
func (a *Account) settle(m userns.Map) error {
	dir, err := state.Open(a.root)
	if err != nil {
		return nil // there are no layers, or somebody says it
	}
	if had, err := readGranted(dir); err == nil && m.Extends(had) && had.Extends(m) {
		return nil
	}
	tx, err := state.Lock(dir.Path("ids.lock"))
	if err != nil {
		return err
	}
	defer tx.Unlock()
	had, err := readGranted(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist): // the first of them, or they have no other ids
	case err != nil:
		return err
	case !m.Extends(had):
		folder := dir.Path(string(store.Ranged))
		if err := os.Rename(folder, aside(dir, had)); err != nil {
			return fmt.Errorf("cannot put layers with other ids aside: %w", err)
		}
		if os.Rename(aside(dir, m), folder) == nil {
			return nil
		}
	}
	if err := os.Mkdir(dir.Path(string(store.Ranged)), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return state.WriteJSON(dir.Path(string(store.Ranged), grantedFile), granted{V: 1, IDs: m})
}

func readGranted(dir *state.Dir) (userns.Map, error) {
	var g granted
	err := state.ReadJSON(dir.Path(string(store.Ranged), grantedFile), &g)
	return g.IDs, err
}

// aside is where layers with the ids of a map wait for these to come back.
func aside(dir *state.Dir, m userns.Map) string {
	h := fnv.New64a()
	fmt.Fprint(h, m.UIDs, m.GIDs)
	return dir.Path(fmt.Sprintf("%s.%x", store.Ranged, h.Sum64()))
}
