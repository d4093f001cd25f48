package runtime

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// Places in a container's tree. The image chooses what is there, and with a
// shared volume another container changes it meanwhile, so each is looked up
// once and used by its descriptor. Links of the image are followed, which
// cannot lead out of the root file system; but not those of /proc, which can:
// /proc/self/fd/N leads to what we hold open, /proc/PID/root to other mounts.

// How far links are followed on the way to a place.
const (
	followLinks = uint64(unix.RESOLVE_NO_MAGICLINKS)
	followNone  = uint64(unix.RESOLVE_NO_SYMLINKS)
)

// find opens a place.
func (b *builder) find(at nsinit.Arg, p string, flags int, follow uint64) nsinit.Reg {
	what := "use " + p
	if follow == followNone {
		what += " of the image (it must not be a symbolic link)"
	}
	args := append([]nsinit.Arg{at, nsinit.Str(p)}, openHow(unix.O_PATH|flags, follow)...)
	return b.get(what, "openat2", args...)
}

// folder opens a folder, which is made if it is not there, with those above it.
func (b *builder) folder(p string, follow uint64) nsinit.Reg {
	r := b.find(cwd, p, unix.O_DIRECTORY, follow)
	if p == "/" {
		return r
	}
	b.allow(0, unix.ENOENT)
	found := len(b.ops) - 1
	names := strings.Split(strings.Trim(p, "/"), "/")
	// Two registers take turns, so that the last folder is in r.
	here, next := r, b.reg()
	if len(names)%2 == 1 {
		here, next = next, here
	}
	b.find(cwd, "/", unix.O_DIRECTORY, follow)
	b.into(here)
	for i, name := range names {
		b.do("make /"+path.Join(names[:i+1]...), "mkdirat", nsinit.Ref(here), nsinit.Str(name), nsinit.Int(0o755))
		b.allow(0, unix.EEXIST)
		b.find(nsinit.Ref(here), name, unix.O_DIRECTORY, follow)
		b.into(next)
		b.closeReg(here)
		here, next = next, here
	}
	b.next-- // the register that is not r
	b.ops[found].Then = len(b.ops) - 1 - found
	return r
}

// saying has the last operation, if it fails, say that this cannot be done.
func (b *builder) saying(what string) { b.ops[len(b.ops)-1].What = what }

// into has the last operation's result go to another register than its own.
func (b *builder) into(r nsinit.Reg) {
	b.ops[len(b.ops)-1].Out = r
	b.next--
}

// file opens a file to mount on, which is made if it is not there. A link that
// leads nowhere is replaced.
func (b *builder) file(p string, follow uint64) nsinit.Reg {
	r := b.find(cwd, p, 0, follow)
	b.allow(0, unix.ENOENT)
	found := len(b.ops) - 1
	dir, base := b.folder(path.Dir(p), follow), nsinit.Str(path.Base(p))
	b.try("unlinkat", nsinit.Ref(dir), base, zero)
	b.do("make "+p, "mknodat", nsinit.Ref(dir), base, nsinit.Int(unix.S_IFREG|0o644), zero)
	b.find(nsinit.Ref(dir), path.Base(p), unix.O_NOFOLLOW, follow)
	b.into(r)
	b.closeReg(dir)
	b.next--
	b.ops[found].Then = len(b.ops) - 1 - found
	return r
}

// attach puts a detached mount onto a place, which is made if it is not there.
func (b *builder) attach(mnt nsinit.Reg, p string, isDir bool, follow uint64) {
	var at nsinit.Reg
	if isDir {
		at = b.folder(p, follow)
	} else {
		at = b.file(p, follow)
	}
	b.cover("mount "+p, mnt, at)
	b.closeReg(at)
	b.next--
}

// cover puts a detached mount onto an open place.
func (b *builder) cover(what string, mnt, at nsinit.Reg) {
	b.do(what, "move_mount", nsinit.Ref(mnt), none, nsinit.Ref(at), none,
		nsinit.Int(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// chdir enters a working directory.
func (b *builder) chdir(dir string) {
	if dir == "" {
		dir = "/"
	}
	what := "enter the working directory " + dir
	at := b.find(cwd, dir, unix.O_DIRECTORY, followLinks)
	b.saying(what)
	b.allow(2, unix.EACCES, unix.EPERM, unix.ENOSYS) // the last two are a filter's, at the second time
	b.do(what, "fchdir", nsinit.Ref(at))
	b.allow(0, unix.EPERM, unix.ENOSYS)
	b.closeReg(at)
	b.next--
}

// offer makes a folder if that is possible: whoever needs it complains.
func (b *builder) offer(p string) {
	first := len(b.ops)
	r := b.folder(p, followLinks)
	b.closeReg(r)
	b.next--
	for i := first; i < len(b.ops); i++ {
		op := &b.ops[i]
		op.Allow = []int{nsinit.AnyError}
		if op.Call == "openat2" && i > first {
			op.Skip = len(b.ops) - 1 - i
		}
	}
}
