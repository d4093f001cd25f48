package layer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"berth/internal/state"
)

const ownersFile = "owners.json"

// maxOwnersBytes bounds what one layer may have recorded, because extended
// attributes come from strangers and stay in memory until the end.
const maxOwnersBytes = 64 << 20

// Owners is what the tar stream said of its entries and the tree does not
// show, by path inside the tree. An entry without a record is exactly what it
// looks like, except that in a rootless layer it belongs to 0:0.
type Owners map[string]Owner

// Owner is the truth about one entry.
type Owner struct {
	UID  uint32 `json:"u,omitempty"`
	GID  uint32 `json:"g,omitempty"`
	Mode uint32 `json:"m,omitempty"` // permissions with set-ID and sticky bits, when they differ from the tree
	// Kind is "c" or "b" for a device node that the tree lacks.
	Kind   string            `json:"t,omitempty"`
	Major  uint32            `json:"ma,omitempty"`
	Minor  uint32            `json:"mi,omitempty"`
	Xattrs map[string][]byte `json:"x,omitempty"` // those that could not be set
}

func (o Owner) bytes() int {
	n := 64
	for k, v := range o.Xattrs {
		n += len(k) + len(v)
	}
	return n
}

type ownersEntry struct {
	Path string `json:"p,omitempty"`
	// Raw replaces Path when that is not UTF-8, which JSON cannot carry.
	Raw []byte `json:"pb,omitempty"`
	Owner
}

func newOwnersEntry(path string, o Owner) ownersEntry {
	if utf8.ValidString(path) {
		return ownersEntry{Path: path, Owner: o}
	}
	return ownersEntry{Raw: []byte(path), Owner: o}
}

// write stores the record, one entry a line, sorted; nothing when there is
// nothing to say.
func (o Owners) write(path string) error {
	if len(o) == 0 {
		return nil
	}
	paths := make([]string, 0, len(o))
	for p := range o {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	out := []byte("{\"v\":1,\"entries\":[\n")
	for i, p := range paths {
		b, err := json.Marshal(newOwnersEntry(p, o[p]))
		if err != nil {
			return err
		}
		out = append(out, b...)
		if i < len(paths)-1 {
			out = append(out, ',')
		}
		out = append(out, '\n')
	}
	return state.WriteVolatile(path, append(out, "]}\n"...), 0o600)
}

// readOwners reads the record that belongs to a layer's tree.
func readOwners(tree string) (Owners, error) {
	var f struct {
		V       int           `json:"v"`
		Entries []ownersEntry `json:"entries"`
	}
	path := filepath.Join(filepath.Dir(tree), ownersFile)
	err := state.ReadJSON(path, &f)
	if errors.Is(err, fs.ErrNotExist) {
		return Owners{}, nil
	}
	if err != nil {
		return nil, err
	}
	if f.V > 1 {
		return nil, fmt.Errorf("record %s was written by a newer berth", path)
	}
	o := make(Owners, len(f.Entries))
	for _, e := range f.Entries {
		path := e.Path
		if len(e.Raw) > 0 {
			path = string(e.Raw)
		}
		o[path] = e.Owner
	}
	return o, nil
}
