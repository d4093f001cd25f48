package sys

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Sealed opens a program through a read-only overlay mount of its folder that
// is attached nowhere. A process that gets hold of a program
// started from it (through /proc/PID/exe, CVE-2019-5736) cannot write to it:
// an overlay without an upper layer has no way to become writable, whatever is
// done to the mount. It costs a tenth of a millisecond; copying the program to
// memory, as others do, would cost twenty.
//
// It needs root, and empty, the path of an empty folder, as the second layer
// that the kernel asks for.
func Sealed(exe, empty string) (*os.File, error) {
	exe, err := filepath.EvalSymlinks(exe)
	if err != nil {
		return nil, err
	}
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen overlay", err)
	}
	defer unix.Close(fs)
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`)
	lower := escape.Replace(filepath.Dir(exe)) + ":" + escape.Replace(empty)
	if err := unix.FsconfigSetString(fs, "lowerdir", lower); err != nil {
		return nil, fmt.Errorf("fsconfig lowerdir=%s: %w", lower, err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, os.NewSyscallError("fsconfig overlay", err)
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return nil, os.NewSyscallError("fsmount overlay", err)
	}
	defer unix.Close(mnt)
	fd, err := unix.Openat(mnt, filepath.Base(exe), unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &os.PathError{Op: "openat", Path: exe, Err: err}
	}
	return os.NewFile(uintptr(fd), exe), nil
}
