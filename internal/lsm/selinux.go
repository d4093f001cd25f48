package lsm

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// SELinux is the module on one machine.
type SELinux struct {
	root   string // "/"
	fsType func(path string) int64
}

// NewSELinux looks at nothing yet.
func NewSELinux() SELinux {
	return SELinux{root: "/", fsType: func(path string) int64 {
		var st unix.Statfs_t
		if unix.Statfs(path, &st) != nil {
			return 0
		}
		return int64(st.Type)
	}}
}

// Enabled reports whether the kernel has a policy.
func (s SELinux) Enabled() bool {
	return s.fsType(filepath.Join(s.root, "sys/fs/selinux")) == unix.SELINUX_MAGIC
}

// Contexts returns the labels that the distribution's policy has for processes
// of containers and for their files, or nothing where SELinux is off. The
// levels in them hold no categories.
func (s SELinux) Contexts() (process, file string) {
	if !s.Enabled() {
		return "", ""
	}
	// What every policy with containers knows, should its file be lacking.
	process, file = "system_u:system_r:container_t:s0", "system_u:object_r:container_file_t:s0"
	kind := s.setting("etc/selinux/config", "SELINUXTYPE", "targeted")
	if strings.Contains(kind, "/") {
		return process, file
	}
	contexts := filepath.Join("etc/selinux", kind, "contexts/lxc_contexts")
	return s.setting(contexts, "process", process), s.setting(contexts, "file", file)
}

// setting reads one line of a file of the form: name = "value".
func (s SELinux) setting(file, name, fallback string) string {
	b, err := os.ReadFile(filepath.Join(s.root, file))
	if err != nil {
		return fallback
	}
	for line := range bytes.Lines(b) {
		key, val, ok := strings.Cut(string(line), "=")
		if val = strings.Trim(strings.TrimSpace(val), `"`); ok && strings.TrimSpace(key) == name && val != "" {
			return val
		}
	}
	return fallback
}

const attribute = "security.selinux"

// Relabel gives a file, or a folder with all in it, a label. Links are labelled,
// not followed, and so are other file systems mounted below. A file system that
// has no labels is passed over, as nothing has to be changed there.
func Relabel(path, label string) error {
	if path == "" {
		return nil
	}
	path = filepath.Clean(path)
	if precious(path) {
		return fmt.Errorf("SELinux relabeling of %s is not allowed: the machine itself needs its label", path)
	}
	return relabel(path, label)
}

// Has reports whether a file, or the top of a tree, has a label already.
func Has(path, label string) bool {
	buf := make([]byte, 256) // the kernel's are shorter
	n, err := unix.Lgetxattr(path, attribute, buf)
	return err == nil && strings.TrimRight(string(buf[:n]), "\x00") == label
}

// relabel goes through a tree by descriptors, so that nobody who may write into
// it can lead it out of there.
func relabel(path, label string) error {
	fi, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return setLabel(unix.AT_FDCWD, path, label)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	var dir *os.File // the folder of the last entry, called where
	var where string
	defer func() { dir.Close() }()
	return fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if parent := filepath.Dir(name); err == nil && (dir == nil || parent != where) {
			dir.Close()
			where = parent
			dir, err = root.Open(parent)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		return setLabel(int(dir.Fd()), filepath.Base(name), label)
	})
}

// setLabel labels the name in a folder itself, whatever it is.
func setLabel(dir int, name, label string) error {
	path := name
	if dir != unix.AT_FDCWD {
		path = fmt.Sprintf("/proc/self/fd/%d/%s", dir, name)
	}
	err := unix.Lsetxattr(path, attribute, []byte(label), 0)
	switch {
	case err == nil, errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOENT):
		return nil
	}
	return &fs.PathError{Op: "label", Path: name, Err: err}
}

// precious are places that whole machines break without, should a :z or :Z be
// put behind them by mistake. What lies in them is not meant, but for kernel's
// own file systems.
func precious(path string) bool {
	switch path {
	case "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt",
		"/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/log", "/var/tmp",
		"/etc/passwd", "/etc/pki", "/etc/shadow":
		return true
	}
	for _, top := range []string{"/proc/", "/sys/", "/dev/"} {
		if strings.HasPrefix(path, top) {
			return true
		}
	}
	return false
}
