package layer

import (
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// knowledge is what the layers of a view have recorded about their entries
// (see [Owners]), to tell the truth when files are packed again.
type knowledge struct {
	owners   []Owners // by layer
	rootless bool     // every file belongs to this account, which plays 0:0
	// devices that trees lack: by layer and folder the names in it.
	devices []map[string][]string
	any     bool // something is recorded at all
}

// learn reads the records of trees.
func learn(trees []string) (*knowledge, error) {
	k := &knowledge{rootless: os.Geteuid() != 0}
	for _, t := range trees {
		o, err := readOwners(t)
		if err != nil {
			return nil, err
		}
		k.any = k.any || len(o) > 0
		devices := map[string][]string{}
		for p, entry := range o {
			dir, base := path.Dir(p), path.Base(p)
			if entry.Kind != "" && base != "." && base != ".." {
				devices[dir] = append(devices[dir], base)
			}
		}
		k.owners, k.devices = append(k.owners, o), append(k.devices, devices)
	}
	return k, nil
}

// inTree turns an absolute path into one as [Owners] has them.
func inTree(path string) string {
	if path = strings.TrimPrefix(path, "/"); path == "" {
		return "."
	}
	return path
}

// told is what a layer is to say of an entry.
type told struct {
	uid, gid, mode uint32
	xattrs         []xattr
}

// of returns the truth about an entry. One of a container's own was copied up
// from the entry below, unless that is nil: then it keeps whatever the
// container cannot have changed since.
func (k *knowledge) of(e *entry, path string, below *entry) (told, error) {
	t := told{uid: e.st.Uid, gid: e.st.Gid, mode: e.st.Mode & 0o7777}
	if k.rootless {
		t.uid, t.gid = 0, 0
	}
	var err error
	if t.xattrs, err = xattrsOf(e); err != nil || !k.any {
		return t, err
	}
	from := e
	if e.layer == ownLayer {
		if below == nil || below.st.Mode&unix.S_IFMT != e.st.Mode&unix.S_IFMT {
			return t, nil
		}
		from = below
	}
	o, ok := k.owners[from.layer][inTree(path)]
	if !ok || o.Kind != "" {
		return t, nil
	}
	if e.st.Uid == from.st.Uid && e.st.Gid == from.st.Gid {
		t.uid, t.gid = o.UID, o.GID
	}
	if o.Mode != 0 && e.st.Mode == from.st.Mode {
		t.mode = o.Mode & 0o7777
	}
	// The kernel takes a file's capabilities away when it is written to.
	if e == from || e.st.Mtim == from.st.Mtim && e.st.Size == from.st.Size {
		for name, value := range o.Xattrs {
			if keepsXattr(name) {
				t.xattrs = append(t.xattrs, xattr{name, string(value)})
			}
		}
		slices.SortFunc(t.xattrs, func(a, b xattr) int { return strings.Compare(a.name, b.name) })
	}
	return t, nil
}

// missing returns the devices of a folder that its shares lack, by name.
func (k *knowledge) missing(shares []part, folder string) map[string]Owner {
	out := map[string]Owner{}
	for i, p := range shares {
		if p.layer == ownLayer {
			continue
		}
		for _, name := range k.devices[p.layer][inTree(folder)] {
			if _, ok := out[name]; !ok && !named(shares[:i+1], name) {
				out[name] = k.owners[p.layer][inTree(folder+"/"+name)]
			}
		}
	}
	return out
}

// named reports whether one of the shares says something about a name.
func named(shares []part, name string) bool {
	for _, p := range shares {
		fd, _, hides, err := p.open(name)
		if err == nil {
			unix.Close(fd)
		}
		if err != unix.ENOENT || hides {
			return true
		}
	}
	return false
}
