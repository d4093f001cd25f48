package nsinit

import "golang.org/x/sys/unix"

// number returns the system call number of a name on this architecture. Only
// calls that every architecture has are offered (openat, not open).
func number(name string) (uintptr, bool) {
	switch name {
	case "capset":
		return unix.SYS_CAPSET, true
	case "chdir":
		return unix.SYS_CHDIR, true
	case "chroot":
		return unix.SYS_CHROOT, true
	case "close":
		return unix.SYS_CLOSE, true
	case "dup3":
		return unix.SYS_DUP3, true
	case "execve":
		return unix.SYS_EXECVE, true
	case "fchdir":
		return unix.SYS_FCHDIR, true
	case "fchmod":
		return unix.SYS_FCHMOD, true
	case "fchown":
		return unix.SYS_FCHOWN, true
	case "fsconfig":
		return unix.SYS_FSCONFIG, true
	case "fsmount":
		return unix.SYS_FSMOUNT, true
	case "fsopen":
		return unix.SYS_FSOPEN, true
	case "ioctl":
		return unix.SYS_IOCTL, true
	case "keyctl":
		return unix.SYS_KEYCTL, true
	case "mkdirat":
		return unix.SYS_MKDIRAT, true
	case "mknodat":
		return unix.SYS_MKNODAT, true
	case "mount":
		return unix.SYS_MOUNT, true
	case "mount_setattr":
		return unix.SYS_MOUNT_SETATTR, true
	case "move_mount":
		return unix.SYS_MOVE_MOUNT, true
	case "open_tree":
		return unix.SYS_OPEN_TREE, true
	case "openat":
		return unix.SYS_OPENAT, true
	case "openat2":
		return unix.SYS_OPENAT2, true
	case "pivot_root":
		return unix.SYS_PIVOT_ROOT, true
	}
	return number2(name)
}

func number2(name string) (uintptr, bool) {
	switch name {
	case "prctl":
		return unix.SYS_PRCTL, true
	case "prlimit64":
		return unix.SYS_PRLIMIT64, true
	case "read":
		return unix.SYS_READ, true
	case "seccomp":
		return unix.SYS_SECCOMP, true
	case "setdomainname":
		return unix.SYS_SETDOMAINNAME, true
	case "setgroups":
		return unix.SYS_SETGROUPS, true
	case "sethostname":
		return unix.SYS_SETHOSTNAME, true
	case "setns":
		return unix.SYS_SETNS, true
	case "setresgid":
		return unix.SYS_SETRESGID, true
	case "setresuid":
		return unix.SYS_SETRESUID, true
	case "setsid":
		return unix.SYS_SETSID, true
	case "socket":
		return unix.SYS_SOCKET, true
	case "symlinkat":
		return unix.SYS_SYMLINKAT, true
	case "umask":
		return unix.SYS_UMASK, true
	case "umount2":
		return unix.SYS_UMOUNT2, true
	case "unlinkat":
		return unix.SYS_UNLINKAT, true
	case "unshare":
		return unix.SYS_UNSHARE, true
	case "write":
		return unix.SYS_WRITE, true
	}
	return number3(name)
}

func number3(name string) (uintptr, bool) {
	switch name {
	case "faccessat":
		return unix.SYS_FACCESSAT, true
	case "fchmodat":
		return unix.SYS_FCHMODAT, true
	case "fchownat":
		return unix.SYS_FCHOWNAT, true
	case "ioprio_set":
		return unix.SYS_IOPRIO_SET, true
	case "personality":
		return unix.SYS_PERSONALITY, true
	case "sched_setaffinity":
		return unix.SYS_SCHED_SETAFFINITY, true
	case "sched_setattr":
		return unix.SYS_SCHED_SETATTR, true
	case "sendfile":
		return unix.SYS_SENDFILE, true
	case "set_mempolicy":
		return unix.SYS_SET_MEMPOLICY, true
	}
	return 0, false
}
