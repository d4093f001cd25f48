package layer

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

// Flags for folders and for files, none of which follow a symbolic link at
// the end of the name; names given to them have no slash.
const (
	openPath = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	openDir  = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	openNew  = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	openFile = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOFOLLOW | unix.O_NOCTTY | unix.O_CLOEXEC
)

// futimens sets the times of an open file, which spares the kernel the look-up
// of a name.
func futimens(fd int, mtime unix.Timespec) error {
	ts := [2]unix.Timespec{mtime, mtime}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
	runtime.KeepAlive(&ts)
	if errno != 0 {
		return errno
	}
	return nil
}

// utimens sets the times of a name, not of what a link points to.
func utimens(dir int, name string, mtime unix.Timespec) error {
	return unix.UtimesNanoAt(dir, name, []unix.Timespec{mtime, mtime}, unix.AT_SYMLINK_NOFOLLOW)
}

// procPath is a path to an open file for the calls that take no descriptor
// opened with O_PATH.
func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// currentUmask asks the kernel what it takes off the modes of new files;
// umask(2) could only tell by changing it. All bits if unknown.
func currentUmask() uint32 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0o777
	}
	for line := range strings.Lines(string(b)) {
		var m uint32
		if n, _ := fmt.Sscanf(line, "Umask:\t%o", &m); n == 1 {
			return m & 0o777
		}
	}
	return 0o777
}

// removeAt removes name and all below it from the folder dir.
func removeAt(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	fd, err := sys.OpenAt(dir, name, openDir, 0)
	if err != nil {
		return err
	}
	names, err := readNames(fd)
	for _, n := range names {
		if err == nil {
			err = removeAt(fd, n)
		}
	}
	unix.Close(fd)
	if err != nil {
		return err
	}
	return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
}

// readNames lists an open folder and leaves it open.
func readNames(fd int) ([]string, error) {
	dup, err := sys.OpenAt(fd, ".", openDir, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(dup), "folder")
	defer f.Close()
	return f.Readdirnames(-1)
}

// isWhiteout reports whether a file is overlay's mark for "nothing here".
func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}
