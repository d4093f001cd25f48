package hello

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// look gathers what there is to see. Its files lie below root, so that tests
// can make some up. What cannot be seen is said, not failed on.
type look struct{ root string }

func (l look) path(elem ...string) string { return filepath.Join(append([]string{l.root}, elem...)...) }

// read returns a file's text without the end of its last line.
func (l look) read(path string) (string, bool) {
	b, err := os.ReadFile(l.path(path))
	return strings.TrimSpace(string(b)), err == nil
}

func (l look) user() []string {
	uid, gid := os.Getuid(), os.Getgid()
	line := fmt.Sprintf("uid %d, gid %d", uid, gid)
	if uid == 0 {
		line = "root: " + line
	}
	if groups, err := os.Getgroups(); err == nil && len(groups) > 0 {
		line += ", groups " + strings.Trim(fmt.Sprint(groups), "[]")
	}
	lines := []string{line}
	if outside, ok := l.outside(uid); ok && outside != uid {
		lines = append(lines, fmt.Sprintf("outside of the container it is uid %d: whatever it does, it has no rights that this account has not", outside))
	}
	return lines
}

// outside returns what a user ID is on the other side of the namespace.
func (l look) outside(uid int) (int, bool) {
	text, _ := l.read("proc/self/uid_map")
	for line := range strings.Lines(text) {
		var in, out, n int
		if _, err := fmt.Sscan(line, &in, &out, &n); err == nil && uid >= in && uid < in+n {
			return out + uid - in, true
		}
	}
	return 0, false
}

func (l look) process() []string {
	line := fmt.Sprintf("pid %d", os.Getpid())
	entries, err := os.ReadDir(l.path("proc"))
	if err != nil {
		return []string{line + ", /proc cannot be read"}
	}
	n := 0
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			n++
		}
	}
	switch {
	case os.Getpid() == 1 && n == 1:
		line += ", the only one it sees"
	case n == 1:
		line += ", 1 process in sight"
	default:
		line += fmt.Sprintf(", %d processes in sight", n)
	}
	if os.Getpid() != 1 {
		if name, ok := l.read("proc/1/comm"); ok {
			line += ", pid 1 is " + name
		}
	}
	return []string{line}
}

func (l look) hostname() []string {
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	return []string{name}
}

func (l look) kernel() []string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return []string{"unknown"}
	}
	return []string{fmt.Sprintf("%s %s %s", unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:]))}
}

// mounts lists file systems by where they are, without the many that only
// furnish /proc, /sys and /dev.
func (l look) mounts() []string {
	text, ok := l.read("proc/self/mountinfo")
	if !ok {
		return []string{"unknown: /proc cannot be read"}
	}
	var lines []string
	for line := range strings.Lines(text) {
		point, kind, readOnly, ok := parseMount(line)
		if !ok || furniture(point) {
			continue
		}
		if readOnly {
			kind += ", read-only"
		}
		lines = append(lines, fmt.Sprintf("%s (%s)", point, kind))
	}
	slices.Sort(lines)
	if len(lines) > 20 {
		lines = append(lines[:20], fmt.Sprintf("and %d more", len(lines)-20))
	}
	return lines
}

func furniture(point string) bool {
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if strings.HasPrefix(point, dir+"/") {
			return point != "/dev/shm"
		}
	}
	return false
}

// parseMount reads a line of mountinfo, proc_pid_mountinfo(5).
func parseMount(line string) (point, kind string, readOnly, ok bool) {
	left, right, found := strings.Cut(line, " - ")
	f, r := strings.Fields(left), strings.Fields(right)
	if !found || len(f) < 6 || len(r) < 1 {
		return "", "", false, false
	}
	options := strings.Split(f[5], ",")
	return unescape(f[4]), r[0], options[0] == "ro", true
}

// unescape undoes the octal escapes of blanks in mountinfo.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func (l look) network() []string {
	ifs, err := net.Interfaces()
	if err != nil {
		return []string{"unknown: " + err.Error()}
	}
	var lines []string
	for _, i := range ifs {
		var addrs []string
		if list, err := i.Addrs(); err == nil {
			for _, a := range list {
				addrs = append(addrs, a.String())
			}
		}
		switch {
		case len(addrs) > 0:
			lines = append(lines, i.Name+" "+strings.Join(addrs, ", "))
		case i.Flags&net.FlagUp == 0:
			lines = append(lines, i.Name+" (down)")
		default:
			lines = append(lines, i.Name+" (no address)")
		}
	}
	if len(lines) == 0 {
		return []string{"none"}
	}
	return lines
}

// gpus lists the device files of graphics cards.
func (l look) gpus() []string {
	var lines []string
	for _, pattern := range []string{"dev/nvidia[0-9]*", "dev/dri/renderD*", "dev/kfd", "dev/dxg"} {
		found, _ := filepath.Glob(l.path(pattern))
		for _, f := range found {
			rel, err := filepath.Rel(l.root, f)
			if err != nil {
				continue
			}
			line := "/" + rel
			if model := l.model(rel); model != "" {
				line += " (" + model + ")"
			}
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return []string{"none"}
	}
	return lines
}

// model returns the name of an NVIDIA card as its driver tells it.
func (l look) model(device string) string {
	minor, ok := strings.CutPrefix(device, "dev/nvidia")
	if !ok {
		return ""
	}
	files, _ := filepath.Glob(l.path("proc/driver/nvidia/gpus/*/information"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		facts := map[string]string{}
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(line, ":")
			facts[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
		if facts["Device Minor"] == minor {
			return facts["Model"]
		}
	}
	return ""
}
