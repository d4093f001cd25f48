package runtime

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
	"berth/internal/sys"
)

// SealedForUser opens a program so that it cannot be written to through a
// process that runs it (CVE-2019-5736): what sys.Sealed does for root, for an
// ordinary account. Its containers' root is the account itself, which may write
// to all of its files, and an image can have the kernel run the shim's program
// inside ("#!/proc/self/exe"). That the file is busy meanwhile (ETXTBSY) does not
// last, and Linux 6.11 had it not at all.
//
// A process in a user namespace of its own clones the mount of the program's
// folder, makes the clone read-only, and hands over the program opened in it.
// Nobody can undo that: it would take the right to mount in that namespace,
// which ends with the process, before anybody else could have joined it.
func SealedForUser(exe string) (*os.File, error) {
	exe, err := filepath.EvalSymlinks(exe)
	if err != nil {
		return nil, err
	}
	b := newBuilder()
	what := "seal " + exe
	dir := b.get(what, "open_tree", cwd, nsinit.Str(filepath.Dir(exe)), nsinit.Flags(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC))
	b.setattr(what, nsinit.Ref(dir), none, unix.AT_EMPTY_PATH, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV})
	f := b.get(what, "openat", nsinit.Ref(dir), nsinit.Str(filepath.Base(exe)), nsinit.Int(unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW), zero)
	b.do(what, nsinit.CallSend, nsinit.Ref(f))
	child, err := nsinit.Spawn(&nsinit.Program{Flags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, Ops: b.ops}, nil)
	if err != nil {
		return nil, err
	}
	// The program has no execve: its process has ended.
	sys.Wait(child.Pid)
	if len(child.FDs) != 1 {
		return nil, errors.New("cannot " + what + ": the process that should do it has ended")
	}
	return child.FDs[0], nil
}
