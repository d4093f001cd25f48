package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	crt "berth/internal/runtime"
	"berth/internal/sys"
)

// protect keeps a container from reaching the file of this program
// (CVE-2019-5736). It has to be called before a process is made, and may start
// the program anew.
//
// Our processes are not dumpable, which closes their /proc/PID/exe to a
// container that has no right to trace them. It does not help when the container
// has us execute our own program: what it calls its shell may be a script whose
// interpreter is /proc/self/exe. Then this very file runs as a process of the
// container, another may open it through /proc/PID/exe meanwhile, and write to
// it when nobody executes it any more.
//
// So where the container's ids could write to the file (exposed) and somebody is
// there to look on (watched), the container's program is executed by way of a
// trampoline, which is what is found then. Where that cannot be, or does not
// help (see canJump), we go on as a program that cannot be written at all: the
// same file through a read-only overlay, or a copy in sealed memory.
// In a pid namespace of its own a first process is alone, and should it have
// become this program, that ends at once (see [Borrowed]); this saves the start
// of a container a second start of ours.
func (a *app) protect(needed bool) error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_SET_DUMPABLE)", err)
	}
	if !needed {
		return nil
	}
	self, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot find this program's file: %w", err)
	}
	defer unix.Close(self)
	if unwritable(self) {
		return nil
	}
	f, err := a.sealed()
	if err != nil {
		return fmt.Errorf("cannot protect this program's file from the container: %w", err)
	}
	defer f.Close()
	// Our options are in os.Args as they came, so all begins again.
	err = syscall.Exec("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), os.Args, os.Environ())
	return fmt.Errorf("cannot execute the protected program: %w", err)
}

// canJump tells whether a trampoline keeps our file from a container: its filter
// must let it be executed, and nothing in the container may look at a process
// of ours before that, as CAP_SYS_PTRACE in our own user namespace permits.
func canJump(s *specs.Spec, p *specs.Process, preserved int) bool {
	traces := func(c *specs.LinuxCapabilities) bool {
		return c != nil && slices.Contains(c.Bounding, "CAP_SYS_PTRACE")
	}
	if !newUser(s) && (traces(p.Capabilities) || traces(s.Process.Capabilities)) {
		return false
	}
	return lets(s, "execveat") && crt.CanJump(p, preserved)
}

// Borrowed reports whether this process is the first of a container that has
// executed our file on the host (see protect). A program that belongs to the
// container is found under its own path. It must be asked before anything else
// is done, above all before another process is made.
func Borrowed() bool {
	if os.Getpid() != 1 {
		return false
	}
	var ran, found unix.Stat_t
	path, err := os.Readlink("/proc/self/exe")
	if err != nil || unix.Stat("/proc/self/exe", &ran) != nil {
		return false // without /proc nobody executes /proc/self/exe
	}
	return unix.Stat(path, &found) != nil || found.Dev != ran.Dev || found.Ino != ran.Ino
}

// watched tells whether another process of the container's, or one in its pid
// namespace, may see the first one.
func watched(s *specs.Spec) bool {
	if s.Linux == nil {
		return true
	}
	for _, n := range s.Linux.Namespaces {
		if n.Type == specs.PIDNamespace {
			return n.Path != ""
		}
	}
	return true
}

// exposed tells whether an id of the container may write to our file, or become
// somebody who may.
func exposed(s *specs.Spec) bool {
	var st unix.Stat_t
	if !newUser(s) || unix.Stat("/proc/self/exe", &st) != nil || st.Mode&0o002 != 0 {
		return true
	}
	for _, m := range s.Linux.UIDMappings {
		if st.Uid-m.HostID < m.Size { // unsigned: also false below HostID
			return true
		}
	}
	for _, m := range s.Linux.GIDMappings {
		if st.Mode&0o020 != 0 && st.Gid-m.HostID < m.Size {
			return true
		}
	}
	return false
}

// unwritable tells whether a program is one of those that sealed returns.
func unwritable(fd int) bool {
	var fs unix.Statfs_t
	if unix.Fstatfs(fd, &fs) != nil {
		return false
	}
	switch int64(fs.Type) {
	case unix.OVERLAYFS_SUPER_MAGIC:
		return fs.Flags&unix.ST_RDONLY != 0
	case unix.TMPFS_MAGIC:
		f, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
		if err != nil {
			return false
		}
		defer f.Close()
		seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
		return err == nil && seals&unix.F_SEAL_WRITE != 0
	}
	return false
}

// sealed returns this program as a file that nobody can write to.
func (a *app) sealed() (*os.File, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		empty := filepath.Join(a.root, emptyDir)
		if err := errors.Join(a.makeRoot(), os.Mkdir(empty, 0o500)); err == nil || errors.Is(err, os.ErrExist) {
			if f, err := sys.Sealed(exe, empty); err == nil && unwritable(int(f.Fd())) {
				return f, nil
			} else if err != nil {
				a.log.debugf("no overlay of this program: %v", err)
			}
		}
	}
	return memoryCopy(exe)
}

// memoryCopy copies a program to memory and seals it. It costs some twenty
// times as much as an overlay, which only root can have.
func memoryCopy(exe string) (*os.File, error) {
	src, err := os.Open(exe)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	return sys.SealedProgram("berth", src)
}
