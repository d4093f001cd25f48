package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reach tries everything that a container must never reach and prints a line
// "REACHED …" for what it did reach. At the end it says how much it tried.
func reach() {
	runtime.LockOSThread()
	r := &reacher{}
	r.writable()
	r.readable()
	r.calls()
	r.devices()
	r.handles()
	fmt.Printf("tried %d\n", r.tried)
}

type reacher struct{ tried int }

func (r *reacher) reached(format string, args ...any) {
	fmt.Printf("REACHED "+format+"\n", args...)
}

// writable are the kernel's switches: files that belong to the whole machine.
func (r *reacher) writable() {
	paths := []string{
		"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/sysrq",
		"/proc/sys/kernel/panic", "/proc/sys/kernel/randomize_va_space", "/proc/sys/kernel/ns_last_pid",
		"/proc/sys/vm/panic_on_oom", "/proc/sys/vm/drop_caches", "/proc/sys/fs/file-max", "/proc/sys/net/ipv4/ip_forward",
		"/proc/sys/fs/binfmt_misc/register", "/proc/irq/default_smp_affinity", "/proc/bus/pci/devices", "/proc/mtrr",
		"/proc/timer_list", "/proc/keys", "/proc/kcore", "/proc/latency_stats",
		"/sys/kernel/uevent_helper", "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/power/state", "/sys/module/kernel/parameters/panic",
		"/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/cgroup.subtree_control",
		"/sys/kernel/security/apparmor/profiles",
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/*")
	for _, p := range groups {
		switch filepath.Base(p) {
		case "release_agent", "cgroup.procs", "tasks", "notify_on_release", "devices.allow", "memory.limit_in_bytes":
			paths = append(paths, p)
		}
	}
	for _, p := range paths {
		r.tried++
		fd, err := unix.Open(p, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		var st, null unix.Stat_t
		unix.Fstat(fd, &st)
		unix.Stat("/dev/null", &null)
		if st.Rdev != null.Rdev { // covered
			r.reached("%s for writing", p)
		}
		unix.Close(fd)
	}
	for _, dir := range []string{"/sys/fs/cgroup", "/sys", "/proc/sys", "/sys/kernel/debug"} {
		r.tried++
		if err := unix.Mkdir(dir+"/berth-escape", 0o755); err == nil {
			r.reached("%s for making folders", dir)
			unix.Rmdir(dir + "/berth-escape")
		}
	}
}

// readable are the kernel's secrets.
func (r *reacher) readable() {
	for _, p := range []string{
		"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/latency_stats", "/proc/kmsg", "/dev/kmsg", "/dev/mem",
		"/dev/port", "/proc/interrupts",
	} {
		r.tried++
		fd, err := unix.Open(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		b := make([]byte, 64)
		if n, err := unix.Read(fd, b); n > 0 && err == nil {
			r.reached("%s for reading", p)
		}
		unix.Close(fd)
	}
	for _, dir := range []string{"/sys/firmware", "/proc/acpi", "/proc/scsi", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/devices/virtual/powercap"} {
		r.tried++
		if names, err := os.ReadDir(dir); err == nil && len(names) > 0 {
			r.reached("%s: %v", dir, names[0].Name())
		}
	}
	// Processes of the host, and of other containers: we are 1.
	r.tried++
	if os.Getpid() != 1 {
		r.reached("another process space: we are %d", os.Getpid())
	}
	if to, err := os.Readlink("/proc/1/exe"); err == nil && to != "/bin/agent" {
		r.reached("process 1, which is %s", to)
	}
}

// call is a system call that only those outside may make.
type call struct {
	name string
	nr   uintptr
	args [6]uintptr
}

func (r *reacher) calls() {
	null := func(s string) uintptr { p, _ := unix.BytePtrFromString(s); return uintptr(unsafe.Pointer(p)) }
	buf := make([]byte, 256)
	b := uintptr(unsafe.Pointer(&buf[0]))
	mapAttr := [16]uint32{2, 4, 4, 1} // an array of one
	tmpfs, tmp, root := null("tmpfs"), null("/tmp"), null("/")
	ns, _ := unix.Open("/proc/self/ns/mnt", unix.O_RDONLY, 0)
	calls := []call{
		{"mount", unix.SYS_MOUNT, [6]uintptr{tmpfs, tmp, tmpfs}},
		{"umount2", unix.SYS_UMOUNT2, [6]uintptr{null("/proc"), unix.MNT_DETACH}},
		{"pivot_root", unix.SYS_PIVOT_ROOT, [6]uintptr{tmp, tmp}},
		{"open_tree", unix.SYS_OPEN_TREE, [6]uintptr{^uintptr(99), root, unix.OPEN_TREE_CLONE}},
		{"fsopen", unix.SYS_FSOPEN, [6]uintptr{tmpfs}},
		{"mount_setattr", unix.SYS_MOUNT_SETATTR, [6]uintptr{^uintptr(99), root, 0, b, 32}},
		{"setns", unix.SYS_SETNS, [6]uintptr{uintptr(ns), 0}},
		{"unshare of the user namespace", unix.SYS_UNSHARE, [6]uintptr{unix.CLONE_NEWUSER}},
		{"unshare of the mount namespace", unix.SYS_UNSHARE, [6]uintptr{unix.CLONE_NEWNS}},
		{"unshare of the cgroup namespace", unix.SYS_UNSHARE, [6]uintptr{unix.CLONE_NEWCGROUP}},
		{"bpf", unix.SYS_BPF, [6]uintptr{0, uintptr(unsafe.Pointer(&mapAttr[0])), unsafe.Sizeof(mapAttr)}},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, [6]uintptr{b, 0, ^uintptr(0), ^uintptr(0)}},
		{"userfaultfd", unix.SYS_USERFAULTFD, [6]uintptr{}},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, [6]uintptr{1, b}},
		{"add_key", unix.SYS_ADD_KEY, [6]uintptr{null("user"), null("berth"), b, 1, ^uintptr(2)}},
		{"request_key", unix.SYS_REQUEST_KEY, [6]uintptr{null("user"), null("berth"), 0, 0}},
		{"keyctl", unix.SYS_KEYCTL, [6]uintptr{0, ^uintptr(2), 1}},
		{"syslog", unix.SYS_SYSLOG, [6]uintptr{3, b, 256}},
		{"init_module", unix.SYS_INIT_MODULE, [6]uintptr{b, 256, null("")}},
		{"kexec_load", unix.SYS_KEXEC_LOAD, [6]uintptr{}},
		{"reboot", unix.SYS_REBOOT, [6]uintptr{0xfee1dead, 672274793, 0}},
		{"swapon", unix.SYS_SWAPON, [6]uintptr{tmp, 0}},
		{"acct", unix.SYS_ACCT, [6]uintptr{null("/nothing")}},
		{"quotactl", unix.SYS_QUOTACTL, [6]uintptr{0x80000100, root, 0, b}},
		{"sethostname", unix.SYS_SETHOSTNAME, [6]uintptr{tmp, 4}},
		{"clock_settime", unix.SYS_CLOCK_SETTIME, [6]uintptr{0, b}},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, [6]uintptr{^uintptr(99), b, 0}},
		{"vhangup", unix.SYS_VHANGUP, [6]uintptr{}},
	}
	refused := []unix.Errno{unix.EPERM, unix.ENOSYS, unix.EACCES}
	for _, c := range calls {
		r.tried++
		_, _, e := unix.RawSyscall6(c.nr, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5])
		if !slices.Contains(refused, e) {
			r.reached("%s: %v", c.name, e)
		}
	}
	runtime.KeepAlive(buf)
	runtime.KeepAlive(&mapAttr)
}

// devices makes nodes of what every machine has and opens them: those that are
// in /dev anyway are allowed, through those names only.
func (r *reacher) devices() {
	for _, d := range []struct {
		name         string
		mode         uint32
		major, minor uint32
	}{{"mem", unix.S_IFCHR, 1, 1}, {"kmsg", unix.S_IFCHR, 1, 11}, {"null", unix.S_IFCHR, 1, 3}, {"disk", unix.S_IFBLK, 254, 0}, {"loop", unix.S_IFBLK, 7, 0}, {"tun", unix.S_IFCHR, 10, 200}} {
		for _, dir := range []string{"/tmp", "/dev", "/dev/shm", "/vol"} {
			r.tried++
			p := dir + "/escape-" + d.name
			unix.Mknod(p, d.mode|0o666, int(unix.Mkdev(d.major, d.minor)))
			if fd, err := unix.Open(p, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
				r.reached("the device %s by a node in %s", d.name, dir)
				unix.Close(fd)
			}
			unix.Unlink(p)
		}
	}
	known := []string{"console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"}
	names, _ := os.ReadDir("/dev")
	for _, n := range names {
		r.tried++
		if !slices.Contains(known, n.Name()) {
			r.reached("/dev/%s", n.Name())
		}
	}
	// The host's nodes keep owner and mode.
	for _, name := range []string{"null", "zero", "tty"} {
		r.tried++
		if err := unix.Chmod("/dev/"+name, 0o600); err == nil {
			r.reached("the mode of the host's /dev/%s", name)
			unix.Chmod("/dev/"+name, 0o666)
		}
	}
}

// handles opens the root of the file system that /etc/hosts lies on, which is
// the host's, by its number (the attack known as shocker).
func (r *reacher) handles() {
	at, err := unix.Open("/etc/hosts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		r.reached("no /etc/hosts to try from: %v", err)
		return
	}
	for _, ino := range []byte{2, 64, 128} {
		r.tried++
		h := unix.NewFileHandle(1, []byte{ino, 0, 0, 0, 0, 0, 0, 0})
		if fd, err := unix.OpenByHandleAt(at, h, unix.O_RDONLY); err == nil {
			r.reached("the host's file system by inode %d", ino)
			unix.Close(fd)
		}
	}
}
