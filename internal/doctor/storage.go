package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/internal/disk"
	"berth/internal/roster"
	"berth/internal/state"
	"berth/internal/sys"
)

// overlay says how the roots of containers are put together.
func (p *patient) overlay() []Finding {
	const copies = "each container gets a copy of its image's files: slower to start, and as big"
	t := p.own
	errno, tried := t.Steps[stepOverlay]
	switch {
	case p.config.Storage == "copy":
		return []Finding{warning("the configuration says storage: copy", copies, "take the key storage out of berth's configuration")}
	case !tried:
		return nil // what is said of namespaces or the data root is the reason
	case errno != 0 && p.host.Rootless && !p.host.KernelAtLeast(5, 11):
		return []Finding{warning("this kernel has no overlay file system for ordinary accounts", copies, "Linux 5.11 or newer")}
	case errno != 0:
		return []Finding{warning(fmt.Sprintf("the data root's file system (%s) takes no overlay (%v)", disk.KindOf(p.machine()).Name, errno), copies,
			"keep the data on a local ext4, xfs, btrfs or tmpfs: --root, BERTH_ROOT or the key data-root")}
	}
	if no := t.refused(stepWhiteout, stepOpaque); len(no) > 0 {
		return []Finding{failure(fmt.Sprintf("an overlay can be mounted, but files of an image cannot be removed in it (%v)", t.Steps[no[0]]),
			"programs that remove or replace what the image has fail", `keep the data elsewhere (--root), or set "storage": "copy" in berth's configuration`)}
	}
	return []Finding{fine("layers are mounted, not copied, and can be changed")}
}

// dataRoot says whether the place where everything is kept can hold it.
func (p *patient) dataRoot() []Finding {
	const elsewhere = "choose another folder with --root, BERTH_ROOT or the key data-root"
	if p.badData != nil {
		return []Finding{failure(p.badData.Error(), "nothing can be kept", elsewhere)}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(p.data, &st); err != nil {
		return []Finding{failure(fmt.Sprintf("cannot look at %s: %v", p.data, err), "nothing can be kept", elsewhere)}
	}
	kind := disk.KindOf(p.data)
	var out []Finding
	if p.told != "" {
		out = append(out, warning(p.told, "this was decided now, and holds from here on", ""))
	}
	if st.Flags&unix.ST_NOEXEC != 0 {
		out = append(out, failure(p.data+" is mounted noexec", "the program beside each container, which lies there, cannot be started", elsewhere))
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		out = append(out, failure(p.data+" is mounted read-only", "nothing can be pulled or run", elsewhere))
	}
	if kind.Shared && p.dir != nil && !p.dir.IsSplit() {
		out = append(out, warning(fmt.Sprintf("%s is on %s", p.data, kind.Name), "what containers write is slow there, and may not be held at all", "keep the data on a disk of this machine: --root /scratch/… or the like"))
	}
	if p.dir != nil {
		if can := disk.Try(p.dir.TempPath("containers"), p.host.Rootless || nested()); !can.Overlay() {
			out = append(out, p.judgeAbility(can)...)
		}
	}
	if fi, err := os.Stat(p.data); err == nil && fi.Mode().Perm()&0o077 != 0 {
		f := warning(fmt.Sprintf("other accounts may enter %s (mode %04o)", p.data, fi.Mode().Perm()), "programs of images with the set-user-ID bit lie open to them", "chmod 700 "+quote(p.data))
		out = append(out, f.by(func() (string, error) { return "chmod 700 " + p.data, os.Chmod(p.data, 0o700) }))
	}
	if len(out) == 0 {
		where := fmt.Sprintf("%s, on %s", p.data, kind.Name)
		if p.machine() != p.data {
			where += fmt.Sprintf(", and what belongs to this machine in %s, on %s", p.machine(), disk.KindOf(p.machine()).Name)
		}
		out = append(out, fine("%s", where))
	}
	return out
}

// machine is the folder of what belongs to this machine, containers above all: the
// data root, or a part of it on another disk.
func (p *patient) machine() string {
	if p.dir != nil && p.dir.IsSplit() {
		return p.dir.Local()
	}
	return p.data
}

// judgeAbility is about a disk that cannot do all that containers need.
func (p *patient) judgeAbility(can disk.Ability) []Finding {
	at := p.machine()
	name := disk.KindOf(at).Name
	if can.Files != nil {
		return []Finding{failure(fmt.Sprintf("%s (%s) does not hold containers: %v", at, name, can.Files), "they cannot be made",
			"name a folder on a disk of this machine by the key local-root or BERTH_LOCAL")}
	}
	return []Finding{warning(fmt.Sprintf("%s (%s) takes no overlay: %v", at, name, can.Marks), "containers get copies of their image's files",
		"a file system with them, by the key local-root or BERTH_LOCAL: ext4 and xfs have them, tmpfs since Linux 6.6")}
}

const (
	lowSpace  = 2 << 30 // bytes: a middling image
	lowInodes = 50_000  // a middling image, too
)

// disk says how much room is left.
func (p *patient) disk() []Finding {
	if p.data == "" {
		return nil
	}
	at := nearest(p.machine())
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		return []Finding{warning(fmt.Sprintf("cannot tell how much room %s has: %v", at, err), "pulls may fail", "")}
	}
	const fix = "remove what is not used: berth system prune -a"
	free, _ := sys.FreeSpace(at)
	var out []Finding
	switch {
	case free <= 0:
		out = append(out, failure(fmt.Sprintf("the disk of %s is full", at), "nothing can be pulled, and containers cannot write", fix))
	case free < lowSpace:
		out = append(out, warning(fmt.Sprintf("%d MiB are free in %s", free>>20, at), "a middling image may not fit", fix))
	}
	if st.Files > 0 && st.Ffree < lowInodes {
		out = append(out, warning(fmt.Sprintf("%d inodes are free in %s", st.Ffree, at), "images have many small files", fix))
	}
	if q, ok := p.quota(at); ok {
		out = append(out, q)
	}
	if len(out) == 0 {
		out = append(out, fine("%d GiB are free in %s", free>>30, at))
	}
	return out
}

// nearest is the folder at path, or that above it which exists.
func nearest(path string) string {
	for ; path != "/"; path = filepath.Dir(path) {
		if _, err := os.Stat(path); err == nil {
			break
		}
	}
	return path
}

// diskQuota is struct if_dqblk of linux/quota.h.
type diskQuota struct {
	HardBlocks, SoftBlocks, Space  uint64 // blocks of 1024 bytes; bytes
	HardInodes, SoftInodes, Inodes uint64
	BlockTime, InodeTime           uint64
	Valid                          uint32
	_                              uint32
}

// quota looks whether the account has used up what it is given on a disk.
func (p *patient) quota(path string) (Finding, bool) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Finding{}, false
	}
	defer unix.Close(fd)
	var q diskQuota
	const getUserQuota = 0x800007 << 8 // QCMD(Q_GETQUOTA, USRQUOTA), Linux 5.14 for descriptors
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(fd), getUserQuota, uintptr(p.host.UID), uintptr(unsafe.Pointer(&q)), 0, 0)
	if errno != 0 {
		return Finding{}, false // no quotas here
	}
	return judgeQuota(q)
}

func judgeQuota(q diskQuota) (Finding, bool) {
	limit := q.SoftBlocks
	if limit == 0 {
		limit = q.HardBlocks
	}
	if limit == 0 || q.Space+lowSpace < limit<<10 {
		return Finding{}, false
	}
	return warning(fmt.Sprintf("%d of the %d MiB that this account may use on the disk are used", q.Space>>20, limit>>10),
		"a middling image may not fit", "berth system prune -a, or a data root on another disk (--root)"), true
}

// leftovers counts what dead processes have left in the data root.
func (p *patient) leftovers() []Finding {
	if p.dir == nil {
		return nil
	}
	half := p.halfMade()
	lost, gone := p.deadContainers()
	var out []Finding
	if half > 0 {
		f := warning(fmt.Sprintf("%d half-made things of processes that are gone lie in %s", half, p.dir.TempPath("containers")), "they take room", "berth doctor --fix removes them")
		out = append(out, f.by(func() (string, error) {
			n, err := p.dir.Sweep()
			return fmt.Sprintf("removed %d", n), err
		}))
	}
	if gone > 0 {
		out = append(out, warning(fmt.Sprintf("%d containers are written down as running, and the process beside them has died", gone),
			"they do not run any more and count as ended with code 137", "berth start, or berth container prune"))
	}
	if lost > 0 {
		out = append(out, warning(fmt.Sprintf("%d containers have a record that cannot be read", lost), "no command finds them", "look into "+p.dir.Path("containers")))
	}
	if len(out) == 0 {
		out = append(out, fine("nothing is left over in the data root"))
	}
	return out
}

func (p *patient) halfMade() int {
	n := 0
	folders := []string{p.dir.TempPath("layers"), p.dir.TempPath("containers")}
	for _, dir := range slices.Compact(folders) {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if !p.dir.Lives(filepath.Join(dir, e.Name())) {
				n++
			}
		}
	}
	return n
}

func (p *patient) deadContainers() (lost, gone int) {
	set := roster.Open(p.dir, nil)
	ids, err := set.IDs()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 1, 0
	}
	for _, id := range ids {
		_, st, err := set.Load(id)
		var stored struct{ Phase string }
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		case err != nil:
			lost++
		case !roster.Active(st) && state.ReadJSON(set.Path(id, "state.json"), &stored) == nil && stored.Phase != st.Phase:
			gone++
		}
	}
	return lost, gone
}

// quote makes a word of a path for a POSIX shell.
func quote(s string) string {
	if !strings.ContainsAny(s, " \t\n'\"\\$`!*?[]{}()<>|&;#~") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
