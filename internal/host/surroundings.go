package host

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Covered reports which of /proc and /sys an ordinary account cannot mount anew,
// because parts of the surrounding one are covered by other mounts, or it is
// read-only: what another container engine has hidden from us the kernel keeps
// hidden (mount_too_revealing() in fs/namespace.c, Linux 4.2). It looks at the
// places that all engines cover; only the mount itself tells for certain.
func (h Host) Covered() (proc, sys bool) { return covered("/") }

func covered(root string) (proc, sys bool) {
	for _, p := range []string{"proc/kcore", "proc/keys", "proc/sys", "proc/sysrq-trigger"} {
		proc = proc || isMount(filepath.Join(root, p))
	}
	for _, p := range []string{"sys/firmware", "sys/devices/virtual/powercap", "sys/dev/block"} {
		sys = sys || isMount(filepath.Join(root, p))
	}
	return proc || readOnly(filepath.Join(root, "proc")), sys
}

// isMount reports whether something is mounted at a path (Linux 5.8; older
// kernels do not say).
func isMount(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

func readOnly(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Flags&unix.ST_RDONLY != 0
}
