package oci

import (
	"bufio"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxPasswd bounds what is read of an image's /etc/passwd (CVE-2026-47262).
const maxPasswd = 1 << 20

// withHome completes an environment without HOME by what the container's
// /etc/passwd says of the user. Kubernetes relies on that.
func withHome(env []string, uid uint32, passwd func() (*os.File, error)) []string {
	if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "HOME=") && e != "HOME=" }) {
		return env
	}
	home := "/"
	if f, err := passwd(); err == nil {
		if h := homeOf(io.LimitReader(f, maxPasswd), uid); h != "" {
			home = h
		}
		f.Close()
	}
	env = slices.DeleteFunc(slices.Clone(env), func(e string) bool { return e == "HOME=" })
	return append(env, "HOME="+home)
}

// homeOf finds the home of a user in passwd(5).
func homeOf(r io.Reader, uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if f := strings.Split(lines.Text(), ":"); len(f) >= 6 && f[2] == id {
			return f[5]
		}
	}
	return ""
}

// passwd opens the container's /etc/passwd before its mounts are made.
func (m *maker) passwd() (*os.File, error) {
	for _, mount := range slices.Backward(m.spec.Mounts) {
		if mount.Destination == "/etc/passwd" {
			return openPlain(unix.AT_FDCWD, mount.Source, 0)
		}
	}
	return openInside(m.c.Rootfs, "etc/passwd")
}

// openInside opens a plain file below a root that we do not control: links are
// followed inside of it only.
func openInside(root, name string) (*os.File, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir)
	return openPlain(dir, name, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// openPlain opens a file for reading if it is a plain one. A named pipe would
// keep us waiting, a device might do anything.
func openPlain(dir int, name string, resolve uint64) (*os.File, error) {
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC, Resolve: resolve})
	if err != nil {
		return nil, &os.PathError{Op: "openat2", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		f.Close()
		return nil, &os.PathError{Op: "open", Path: name, Err: unix.EINVAL}
	}
	return f, nil
}
