package state

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A data root that several machines see, in a home on NFS say, holds only what
// means the same on all of them: images, layers, volumes. Processes, sockets,
// locks on names and the folders that overlay writes to belong to one machine
// and lie on a disk of its own, at a place that nodes/HOST/place.json names. So
// no machine ever sees another one's containers and could take them for dead.
// What it must know of them, which layers and volumes they use, they say in
// nodes/HOST/containers. Layers with the owners of id ranges are a machine's own,
// too: another one may grant others, and a server of files takes none.

// ErrUnplaced says that a data root is split, and that nobody has chosen yet
// where this machine keeps its part, or that the part is gone.
var ErrUnplaced = errors.New("the data root has no place on this machine yet")

// split is where the part of this machine lies.
type split struct {
	local string
	all   bool   // everything lies there: the root's file system can hold nothing of it
	host  string // this machine, as a name of a file
	tag   string // this machine, in names of temporary folders that others see
}

// place is nodes/HOST/place.json.
type place struct {
	V     int    `json:"v"`
	Local string `json:"local"`
	All   bool   `json:"all,omitempty"`
}

const placeFile = "place.json"

// forsaken is when a temporary folder of another machine's, whose processes we
// cannot see, counts as left over.
const forsaken = 7 * 24 * time.Hour

// Split makes the data root at root one whose part for this machine lies in the
// folder local, images and volumes too if all is true. What is there already
// stays.
func Split(root, local string, all bool) (*Dir, error) {
	d := &Dir{root: filepath.Clean(root), split: newSplit(local, all)}
	for _, dir := range []string{d.root, d.Path("nodes", d.split.host, "containers"), local} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make data root: %w", err)
		}
	}
	if err := ownFolder(local); err != nil {
		return nil, err
	}
	err := WriteJSON(d.Path("nodes", d.split.host, placeFile), place{V: 1, Local: local, All: all})
	if err != nil {
		return nil, err
	}
	return d, d.create(VersionSplit)
}

func newSplit(local string, all bool) *split {
	host := Host()
	h := fnv.New64a()
	h.Write([]byte(host))
	return &split{local: local, all: all, host: host, tag: strconv.FormatUint(h.Sum64(), 16)}
}

// Host is the name of this machine as that of a file.
func Host() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "localhost"
	}
	name := strings.Map(func(r rune) rune {
		if r == '/' || r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, unix.ByteSliceToString(u.Nodename[:]))
	if strings.Trim(name, ".") == "" {
		return "localhost"
	}
	return name
}

// findLocal reads where the part of this machine lies.
func (d *Dir) findLocal() error {
	d.split = newSplit("", false)
	var p place
	err := ReadJSON(d.Path("nodes", d.split.host, placeFile), &p)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrUnplaced
	}
	if err != nil {
		return err
	}
	if p.V > 1 || !filepath.IsAbs(p.Local) {
		return fmt.Errorf("data root %s: its %s for %s is not one that this berth understands", d.root, placeFile, d.split.host)
	}
	d.split.local, d.split.all = p.Local, p.All
	if err := ownFolder(p.Local); errors.Is(err, fs.ErrNotExist) {
		return ErrUnplaced
	} else if err != nil {
		return err
	}
	if _, err := os.Lstat(d.Path("containers")); errors.Is(err, fs.ErrNotExist) {
		return ErrUnplaced // it was being made, or cleared away
	}
	return nil
}

// ownFolder checks that a folder is ours and closed to others: it may lie where
// everybody can make one of that name.
func ownFolder(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s is not a folder that belongs to this account alone: remove it, or name another one with BERTH_LOCAL", path)
	}
	return nil
}

// Local returns the folder with what belongs to this machine, which is the
// root unless that is split.
func (d *Dir) Local() string {
	if d.split == nil {
		return d.root
	}
	return d.split.local
}

// Guard keeps systemd-tmpfiles, which clears old files from /var/tmp and /tmp,
// off the part of this machine until the process ends: it leaves folders alone
// on which somebody holds a lock (tmpfiles.d(5)).
func (d *Dir) Guard() {
	if d.split == nil {
		return
	}
	fd, err := unix.Open(d.split.local, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	if unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) != nil {
		unix.Close(fd)
	}
}

// IsSplit reports whether what belongs to this machine lies elsewhere.
func (d *Dir) IsSplit() bool { return d.split != nil }

// Shares reports whether a part of the data root is what other machines see, too.
func (d *Dir) Shares(part string) bool {
	return d.split != nil && !d.split.all && d.side(part) == d.root
}

// side returns the folder in which a part of the data root lies.
func (d *Dir) side(part string) string {
	if d.split == nil {
		return d.root
	}
	part, _, _ = strings.Cut(part, "/")
	switch {
	case part == "" || part == "version" || part == "nodes":
		return d.root
	case d.split.all:
		return d.split.local
	case part == "oci" || part == "downloads" || part == "volumes" || part == "layers":
		return d.root
	}
	return d.split.local
}

// TempPath is the folder of temporary folders from which things can be renamed
// into a part of the data root.
func (d *Dir) TempPath(part string) string { return filepath.Join(d.side(part), "tmp") }

// tempPaths are all of them.
func (d *Dir) tempPaths() []string {
	list := []string{d.TempPath("layers"), d.TempPath("containers")}
	return slices.Compact(list)
}

// self is this process in the name of a temporary folder in dir.
func (d *Dir) self(dir string) string {
	if d.split != nil && dir != d.TempPath("containers") {
		return Self().String() + "." + d.split.tag
	}
	return Self().String()
}

// Lives reports whether the owner of the temporary folder at path may be alive.
func (d *Dir) Lives(path string) bool {
	name, _, _ := strings.Cut(filepath.Base(path), "-")
	owner, tag := cutTag(name)
	o, err := ParseOwner(owner)
	if err != nil {
		return false
	}
	if tag == "" || d.split != nil && tag == d.split.tag {
		return o.Alive()
	}
	fi, err := os.Lstat(path)
	return err == nil && time.Since(fi.ModTime()) < forsaken
}

// cutTag takes the name of a machine off that of an owner.
func cutTag(name string) (owner, tag string) {
	if parts := strings.SplitN(name, ".", 3); len(parts) == 3 {
		return parts[0] + "." + parts[1], parts[2]
	}
	return name, ""
}

// Announce tells the other machines that share the data root what a container
// of this one uses: record is its record. Without others it does nothing.
func (d *Dir) Announce(id string, record []byte) error {
	if d.split == nil || d.split.all {
		return nil
	}
	return WriteFile(d.announcement(id), record, 0o600)
}

func (d *Dir) announcement(id string) string {
	return d.Path("nodes", d.split.host, "containers", id)
}

// withdraw takes an announcement back.
func (d *Dir) withdraw(id string) {
	if d.split != nil {
		os.Remove(d.announcement(id))
	}
}

// Announced returns the paths of what other machines have announced: a record
// for each of their containers.
func (d *Dir) Announced() ([]string, error) {
	if d.split == nil || d.split.all {
		return nil, nil
	}
	nodes, err := os.ReadDir(d.Path("nodes"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range nodes {
		if n.Name() == d.split.host {
			continue
		}
		dir := d.Path("nodes", n.Name(), "containers")
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if isTemp, _ := TempFile(e.Name()); !isTemp {
				out = append(out, filepath.Join(dir, e.Name()))
			}
		}
	}
	return out, nil
}

// sweepAnnounced takes back what this machine has announced of containers that
// are gone. A young one may be of a container that is just being made.
func (d *Dir) sweepAnnounced() {
	if d.split == nil {
		return
	}
	entries, err := os.ReadDir(d.Path("nodes", d.split.host, "containers"))
	if err != nil {
		return
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || time.Since(fi.ModTime()) < time.Hour {
			continue
		}
		if _, err := os.Lstat(d.Path("containers", e.Name())); errors.Is(err, fs.ErrNotExist) {
			d.withdraw(e.Name())
		}
	}
}
