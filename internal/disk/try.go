package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

// Ability is what a file system can do for us; nil stands for yes.
type Ability struct {
	// Files is why it cannot hold layers and containers at all.
	Files error
	// Marks is why overlay could not write there what it needs to know:
	// extended attributes and devices that stand for removed files. Container
	// roots have to be copies then.
	Marks error
}

// Overlay reports whether it can do everything.
func (a Ability) Overlay() bool { return a.Files == nil && a.Marks == nil }

func (a Ability) why() error {
	if a.Files != nil {
		return a.Files
	}
	return a.Marks
}

// Try finds out what this account can do in a folder, with files that it makes
// there and removes. User is for the marks of overlay mounts in a user
// namespace; the others are root's.
func Try(dir string, user bool) Ability {
	sweep(dir)
	tmp, err := os.MkdirTemp(dir, trial)
	if err != nil {
		return Ability{Files: err}
	}
	defer sys.RemoveAll(tmp)
	return Ability{Files: tryFiles(tmp, user), Marks: tryMarks(tmp, user)}
}

// trial begins the names of what is made to try something.
const trial = ".berth-try-"

// sweep removes what trials that were killed have left of this account's. They
// take milliseconds; on a shared file system they may be another machine's, whose
// processes cannot be seen, so age is what tells.
func sweep(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		var st unix.Stat_t
		if !strings.HasPrefix(e.Name(), trial) || unix.Lstat(path, &st) != nil || int(st.Uid) != os.Geteuid() {
			continue
		}
		if time.Since(time.Unix(st.Mtim.Unix())) > 24*time.Hour {
			sys.RemoveAll(path)
		}
	}
}

// tryFiles tries what layers and records are made with.
func tryFiles(dir string, user bool) error {
	at := func(name string) string { return filepath.Join(dir, name) }
	f, err := os.OpenFile(at(`file: "A\b" `), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("it does not take every name of a file: %w", cause(err))
	}
	defer f.Close()
	if _, err := os.Lstat(at(`file: "a\b" `)); err == nil {
		return errors.New("it does not tell capital letters from small ones")
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("it has no locks: %w", err)
	}
	if !user {
		if err := f.Chown(1, 1); err != nil {
			return fmt.Errorf("root may not give files away there: %w", cause(err))
		}
	}
	for _, mode := range []uint32{0o4751, 0o400} {
		var st unix.Stat_t
		if err := unix.Fchmod(int(f.Fd()), mode); err != nil {
			return fmt.Errorf("it does not keep modes of files: %w", err)
		}
		if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mode&0o7777 != mode {
			return errors.New("it does not keep modes of files")
		}
	}
	if err := os.Symlink("to", at("symlink")); err != nil {
		return fmt.Errorf("it has no symbolic links: %w", cause(err))
	}
	if err := os.Link(f.Name(), at("link")); err != nil {
		return fmt.Errorf("it has no hard links: %w", cause(err))
	}
	if err := unix.Mknod(at("pipe"), unix.S_IFIFO|0o600, 0); err != nil {
		return fmt.Errorf("it has no pipes: %w", err)
	}
	return nil
}

// tryMarks tries those of overlay: an attribute of a folder that hides what is
// below, and a whiteout, which accounts may make since Linux 5.8.
func tryMarks(dir string, user bool) error {
	if err := unix.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		return err
	}
	if err := unix.Setxattr(filepath.Join(dir, "folder"), opaque(user), []byte("y"), 0); err != nil {
		return fmt.Errorf("it has no extended attributes of %s: %w", whose(user), err)
	}
	if err := unix.Mknod(filepath.Join(dir, "whiteout"), unix.S_IFCHR, 0); err != nil {
		return fmt.Errorf("it has no whiteouts: %w", err)
	}
	return nil
}

// KeepsMarks reports whether the file system of a folder that overlay is to
// write to has the attributes for it, at the price of one call. What is missing
// otherwise is the mount's to say.
func KeepsMarks(dir string, user bool) bool {
	_, err := unix.Getxattr(dir, opaque(user), nil)
	return err != unix.EOPNOTSUPP
}

func opaque(user bool) string {
	if user {
		return "user.overlay.opaque"
	}
	return "trusted.overlay.opaque"
}

func whose(user bool) string {
	if user {
		return "users"
	}
	return "root"
}

// cause is an error without the path of a file that is gone again.
func cause(err error) error {
	var pe *os.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		return pe.Err
	case errors.As(err, &le):
		return le.Err
	}
	return err
}

// SharesBlocks reports whether a file copied from one folder to another one
// needs no room of its own (ioctl_ficlone(2): btrfs, XFS, bcachefs and others).
func SharesBlocks(from, to string) bool {
	src, err := unnamed(from)
	if err != nil {
		return false
	}
	defer unix.Close(src)
	dst, err := unnamed(to)
	if err != nil {
		return false
	}
	defer unix.Close(dst)
	if _, err := unix.Write(src, []byte("berth")); err != nil {
		return false
	}
	return unix.IoctlFileClone(dst, src) == nil
}

// unnamed makes a file that goes when it is closed, whoever is killed. All file
// systems that share blocks have such (open(2), O_TMPFILE).
func unnamed(dir string) (int, error) {
	return unix.Open(dir, unix.O_RDWR|unix.O_TMPFILE|unix.O_CLOEXEC, 0o600)
}
