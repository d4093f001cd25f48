package host

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Host is what is known of the machine and of the account berth runs as. It is
// made at every command, so it holds only what costs nothing; the methods look
// up the rest when somebody asks, and remember nothing.
type Host struct {
	Rootless bool // the effective user is not root
	UID      int
	GID      int
	Home     string // $HOME, else from /etc/passwd; may be empty
}

// Detect describes the machine and the calling account.
func Detect() (Host, error) {
	h := Host{UID: os.Geteuid(), GID: os.Getegid(), Home: os.Getenv("HOME")}
	h.Rootless = h.UID != 0
	if h.Home == "" {
		h.Home = lookupAccount("/etc/passwd", h.UID).home
	}
	return h, nil
}

// KernelVersion returns the release of the running kernel, such as
// "6.1.0-18-amd64".
func (h Host) KernelVersion() string {
	u, err := uname()
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// Machine returns the kernel's word for the processor, such as "x86_64".
func (h Host) Machine() string {
	u, err := uname()
	if err != nil {
		return runtime.GOARCH
	}
	return unix.ByteSliceToString(u.Machine[:])
}

// Hostname returns the machine's name.
func (h Host) Hostname() string {
	u, err := uname()
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Nodename[:])
}

// KernelAtLeast reports whether the running kernel is major.minor or newer.
func (h Host) KernelAtLeast(major, minor int) bool {
	return versionAtLeast(h.KernelVersion(), major, minor)
}

// NCPU returns how many processors this process may run on.
func (h Host) NCPU() int { return runtime.NumCPU() }

// MemTotal returns the machine's memory in bytes, 0 when unknown.
func (h Host) MemTotal() int64 {
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return 0
	}
	return int64(uint64(si.Totalram) * uint64(si.Unit))
}

// Seccomp reports whether the kernel filters system calls.
func (h Host) Seccomp() bool {
	_, err := os.Stat("/proc/sys/kernel/seccomp/actions_avail")
	return err == nil
}

// Forwarding reports whether the machine passes IPv4 packets on.
func (h Host) Forwarding() bool { return firstByte("/proc/sys/net/ipv4/ip_forward") == '1' }

// Online is which processors ("cpu") or memory nodes ("node") exist, "0-7".
func (h Host) Online(kind string) string {
	b, _ := os.ReadFile("/sys/devices/system/" + kind + "/online")
	return strings.TrimSpace(string(b))
}

// CgroupV2 reports whether all controllers are in version 2's tree.
func (h Host) CgroupV2() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &st) == nil && int64(st.Type) == unix.CGROUP2_SUPER_MAGIC
}

// Bounding is the set of capabilities this process may hand on, bit n for
// capability n; 0 when unknown.
func (h Host) Bounding() uint64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "CapBnd:")
	line, _, _ := strings.Cut(rest, "\n")
	set, _ := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	return set
}

// NoFile is how many files a process may have open at most.
func (h Host) NoFile() uint64 {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Max
}

// LastCap returns the number of the newest capability the kernel knows.
func (h Host) LastCap() (int, error) {
	b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return 0, fmt.Errorf("cannot tell the kernel's capabilities: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// OverlayPossible reports whether it is worth trying to mount an overlay file
// system: the kernel has one, or may load it, and lets this account use it.
// Only the mount itself tells for certain.
func (h Host) OverlayPossible() bool {
	if h.Rootless {
		// In a user namespace overlay needs the userxattr option.
		return h.KernelAtLeast(5, 11)
	}
	if h.filesystemKnown("overlay") {
		return true
	}
	// Root can have it loaded by asking for it.
	_, err := os.Stat("/lib/modules/" + h.KernelVersion())
	return err == nil
}

func (h Host) filesystemKnown(name string) bool {
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return false
	}
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) > 0 && string(f[len(f)-1]) == name {
			return true
		}
	}
	return false
}

// OperatingSystem returns the name of the distribution for people, such as
// "Debian GNU/Linux 12 (bookworm)", and its version number.
func (h Host) OperatingSystem() (name, version string) {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		defer f.Close()
		sc := bufio.NewScanner(f)
		for sc.Scan() {
			key, val, _ := strings.Cut(strings.TrimSpace(sc.Text()), "=")
			switch key {
			case "PRETTY_NAME":
				name = unquoteShell(val)
			case "VERSION_ID":
				version = unquoteShell(val)
			}
		}
		break
	}
	if name == "" {
		name = "Linux"
	}
	return name, version
}

// unquoteShell undoes the quoting of a value in os-release(5).
func unquoteShell(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		quote := s[0]
		s = s[1 : len(s)-1]
		if quote == '\'' {
			return s
		}
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

type account struct{ name, home string }

// lookupAccount finds a user in a passwd(5) file. The standard library's way
// opens the file too, but brings far more code.
func lookupAccount(path string, uid int) account {
	b, err := os.ReadFile(path)
	if err != nil {
		return account{}
	}
	want := strconv.Itoa(uid)
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(f) >= 6 && f[2] == want {
			return account{name: f[0], home: f[5]}
		}
	}
	return account{}
}

func uname() (unix.Utsname, error) {
	var u unix.Utsname
	err := unix.Uname(&u)
	return u, err
}

// versionAtLeast compares the first two numbers of a kernel release.
func versionAtLeast(release string, major, minor int) bool {
	a, rest, _ := strings.Cut(release, ".")
	gotMajor, err := strconv.Atoi(a)
	if err != nil {
		return false
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	gotMinor, _ := strconv.Atoi(rest[:end])
	return gotMajor > major || gotMajor == major && gotMinor >= minor
}

func firstByte(path string) byte {
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return 0
	}
	return b[0]
}
