package userns

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/host"
)

// Range is a row of ids with its place inside and outside of a namespace.
type Range struct {
	Inside  uint32
	Outside uint32
	Size    uint32
}

// Map is what ids in a user namespace mean outside of it.
type Map struct {
	UIDs []Range
	GIDs []Range
}

// maxRanges is how many lines the kernel takes in a map (user_namespaces(7),
// since Linux 4.15).
const maxRanges = 340

// Ranges returns the map that an account's containers have: 0 is the account
// itself, and from 1 on come the ids that /etc/subuid and /etc/subgid grant it.
// The error says in words why there are none, and how to get them.
func Ranges(h host.Host) (Map, error) {
	if h.UID == 0 {
		return Map{}, errors.New("root has all ids of this machine and needs no ranges")
	}
	if err := usable(os.DirFS("/"), helperFolders()); err != nil {
		return Map{}, err
	}
	who := accountOf(h.UID)
	uids, err := who.granted("/etc/subuid", uint32(h.UID), "-u")
	if err != nil {
		return Map{}, err
	}
	gids, err := who.granted("/etc/subgid", uint32(h.GID), "-g")
	if err != nil {
		return Map{}, err
	}
	m := Map{UIDs: uids, GIDs: gids}
	return m, m.around()
}

// Inside reports whether a user and a group exist in the namespace.
func (m Map) Inside(uid, gid uint32) bool {
	return inside(m.UIDs, uid) && inside(m.GIDs, gid)
}

func inside(rs []Range, id uint32) bool {
	return slices.ContainsFunc(rs, func(r Range) bool { return id >= r.Inside && id-r.Inside < r.Size })
}

// Extends reports whether all ids of an earlier map are what they were, so that
// files that were made with it belong to the same ids of a container.
func (m Map) Extends(earlier Map) bool {
	return extends(m.UIDs, earlier.UIDs) && extends(m.GIDs, earlier.GIDs)
}

func extends(rs, earlier []Range) bool {
	for _, e := range earlier {
		for at := uint64(e.Inside); at < uint64(e.Inside)+uint64(e.Size); {
			i := slices.IndexFunc(rs, func(r Range) bool { return at >= uint64(r.Inside) && at < uint64(r.Inside)+uint64(r.Size) })
			if i < 0 || uint64(rs[i].Outside)+at-uint64(rs[i].Inside) != uint64(e.Outside)+at-uint64(e.Inside) {
				return false
			}
			at = uint64(rs[i].Inside) + uint64(rs[i].Size)
		}
	}
	return true
}

// Max is the greatest id that is both a user's and a group's, when all below it
// are.
func (m Map) Max() uint32 { return min(top(m.UIDs), top(m.GIDs)) }

func top(rs []Range) (n uint32) {
	for _, r := range rs {
		n = max(n, r.Inside+r.Size-1)
	}
	return n
}

// granted reads the ranges of one list and puts the account's own id before
// them.
func (a account) granted(list string, own uint32, flag string) ([]Range, error) {
	b, err := os.ReadFile(list)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot tell the ids of %s: %w", a.name(), err)
	}
	found := parse(string(b), a.is)
	if len(found) == 0 {
		found = a.elsewhere(flag)
	}
	out := []Range{{Outside: own, Size: 1}}
	next := uint32(1)
	for _, r := range found {
		if own >= r.Outside && own-r.Outside < r.Size || len(out) == maxRanges {
			continue // an id cannot have two places
		}
		out = append(out, Range{Inside: next, Outside: r.Outside, Size: r.Size})
		next += r.Size
	}
	if len(out) == 1 {
		first := free(string(b))
		return nil, fmt.Errorf("%s has no line for %s: an administrator grants 65536 ids with: echo %s:%d:65536 | sudo tee -a /etc/subuid /etc/subgid",
			list, a.name(), a.key(), first)
	}
	return out, nil
}

// parse finds an account's lines in a list: "name or number:first:count".
func parse(text string, is func(who string) bool) (out []Range) {
	total := uint64(1)
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || strings.HasPrefix(f[0], "#") || !is(f[0]) {
			continue
		}
		first, err := strconv.ParseUint(f[1], 10, 32)
		size, err2 := strconv.ParseUint(f[2], 10, 32)
		// The last id is what (uid_t)-1 means: none.
		if err != nil || err2 != nil || size == 0 || first+size > math.MaxUint32 || total+size > math.MaxUint32 {
			continue
		}
		r := Range{Outside: uint32(first), Size: uint32(size)}
		if slices.ContainsFunc(out, r.overlaps) {
			continue
		}
		total += size
		out = append(out, r)
	}
	return out
}

func (r Range) overlaps(o Range) bool {
	return uint64(r.Outside) < uint64(o.Outside)+uint64(o.Size) && uint64(o.Outside) < uint64(r.Outside)+uint64(r.Size)
}

// free is an id behind all that are granted to anybody in a list, where 65536
// more can begin; useradd(8) begins at 100000.
func free(list string) uint32 {
	first := uint64(100000)
	for _, r := range parse(list, func(string) bool { return true }) {
		first = max(first, uint64(r.Outside)+uint64(r.Size))
	}
	if first > math.MaxUint32-65536 {
		return 100000
	}
	return uint32(first)
}

// around checks that the ids exist where we are: in a container they may not.
func (m Map) around() error {
	for file, rs := range map[string][]Range{"uid_map": m.UIDs, "gid_map": m.GIDs} {
		b, err := os.ReadFile("/proc/self/" + file)
		if err != nil {
			return err
		}
		if have := parseMap(string(b)); !slices.ContainsFunc(rs, func(r Range) bool { return !exists(have, r) }) {
			continue
		}
		return errors.New("the ids that /etc/subuid and /etc/subgid grant do not exist in the container around this one")
	}
	return nil
}

// parseMap reads a map of the kernel's: "inside outside size" in each line.
func parseMap(text string) (out []Range) {
	for line := range strings.Lines(text) {
		var r Range
		if n, _ := fmt.Sscan(line, &r.Inside, &r.Outside, &r.Size); n == 3 {
			out = append(out, r)
		}
	}
	return out
}

// exists reports whether all of r is in the namespace that has the map.
func exists(have []Range, r Range) bool {
	at, left := uint64(r.Outside), uint64(r.Size)
	for left > 0 {
		i := slices.IndexFunc(have, func(h Range) bool { return at >= uint64(h.Inside) && at < uint64(h.Inside)+uint64(h.Size) })
		if i < 0 {
			return false
		}
		n := min(left, uint64(have[i].Inside)+uint64(have[i].Size)-at)
		at, left = at+n, left-n
	}
	return true
}

// usable says why newuidmap and newgidmap are of no use, or nil.
func usable(root fs.FS, folders []string) error {
	for _, name := range []string{"newuidmap", "newgidmap"} {
		path := find(root, folders, name)
		if path == "" {
			return fmt.Errorf("%s is not installed: an administrator adds it with the package uidmap (Debian, Ubuntu), shadow-utils (Fedora, RHEL) or shadow (Arch, openSUSE)", name)
		}
		if why := powerless("/" + path); why != "" {
			return fmt.Errorf("/%s may not map ids: %s", path, why)
		}
	}
	if on, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil && on == 1 {
		return errors.New("newuidmap cannot get its rights here: this session runs with no_new_privs, so set-user-ID programs have no effect")
	}
	return nil
}

// helperFolders are where newuidmap may be.
func helperFolders() []string {
	usual := []string{"/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin", "/run/wrappers/bin"}
	return append(strings.Split(os.Getenv("PATH"), ":"), usual...)
}

// find looks for a program, whose path it returns relative to the root.
func find(root fs.FS, folders []string, name string) string {
	for _, dir := range folders {
		path := strings.Trim(dir, "/") + "/" + name
		if !strings.HasPrefix(dir, "/") || !fs.ValidPath(path) {
			continue
		}
		if fi, err := fs.Stat(root, path); err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// powerless says why a program has no more rights than its caller, or nothing.
func powerless(path string) string {
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := unix.Stat(path, &st); err != nil {
		return err.Error()
	}
	caps, err := unix.Getxattr(path, "security.capability", nil)
	switch {
	case (err != nil || caps == 0) && (st.Mode&unix.S_ISUID == 0 || st.Uid != 0):
		return "it has neither the set-user-ID bit nor file capabilities; an administrator gives it back with: sudo chmod u+s " + path
	case unix.Statfs(path, &fs) == nil && fs.Flags&unix.ST_NOSUID != 0:
		return "its file system is mounted nosuid"
	}
	return ""
}

// Keep returns the map of a namespace inside of one that has m, in which the
// account is uid and gid instead of root: each changes places with whoever has
// the number otherwise. Where nobody has it, as when it is a great number from a
// directory service, the last id gives up its place. The map is empty when both
// are root's.
func (m Map) Keep(uid, gid uint32) Map {
	if uid == 0 && gid == 0 {
		return Map{}
	}
	return Map{UIDs: exchange(top(m.UIDs), uid), GIDs: exchange(top(m.GIDs), gid)}
}

// exchange maps the ids from 0 to last to themselves, but for 0 and id.
func exchange(last, id uint32) []Range {
	if id == 0 {
		return []Range{{0, 0, last + 1}}
	}
	other := min(id, last)
	out := []Range{{0, other, 1}, {1, 1, other - 1}, {id, 0, 1}, {other + 1, other + 1, last - other}}
	return slices.DeleteFunc(out, func(r Range) bool { return r.Size == 0 })
}
