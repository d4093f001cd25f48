package lab

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Leaks lists what berth has left behind for a data root that should be at
// rest: processes, mounts, containers, names, half-made things. It waits a
// moment for processes on their way out.
func Leaks(root string) []string {
	var found []string
	for range 40 {
		if found = leaks(root); len(found) == 0 {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return found
}

func leaks(root string) []string {
	var out []string
	for _, sub := range []string{"containers", "names", "tmp"} {
		entries, err := os.ReadDir(filepath.Join(root, sub))
		if err != nil && !os.IsNotExist(err) {
			out = append(out, err.Error())
		}
		for _, e := range entries {
			if e.Name() != ".lock" {
				out = append(out, "left in the data root: "+sub+"/"+e.Name())
			}
		}
	}
	// A record is written under a hidden name and renamed.
	filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), ".") && strings.Contains(d.Name(), ".tmp") {
			out = append(out, "half-written record: "+p)
		}
		if err == nil && d.IsDir() && (d.Name() == "tree" || d.Name() == "_data" || d.Name() == "tmp") {
			return fs.SkipDir
		}
		return nil
	})
	return append(out, processes(root)...)
}

// processes lists the processes other than our own that have to do with root:
// by a mount, a folder, an open file, an argument or the program itself.
func processes(root string) []string {
	var out []string
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		if filepath.Base(p) == fmt.Sprint(os.Getpid()) {
			continue
		}
		if why := touches(p, root); why != "" {
			cmd, _ := os.ReadFile(p + "/cmdline")
			out = append(out, fmt.Sprintf("process %s %q: %s", filepath.Base(p), strings.ReplaceAll(string(cmd), "\x00", " "), why))
		}
	}
	return out
}

func touches(proc, root string) string {
	for _, link := range []string{"cwd", "root", "exe"} {
		if to, err := os.Readlink(proc + "/" + link); err == nil && within(to, root) {
			return link + " is " + to
		}
	}
	if b, err := os.ReadFile(proc + "/mountinfo"); err == nil && strings.Contains(string(b), root) {
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, root) {
				return "mount " + strings.TrimSpace(line)
			}
		}
	}
	fds, _ := os.ReadDir(proc + "/fd")
	for _, fd := range fds {
		if to, err := os.Readlink(proc + "/fd/" + fd.Name()); err == nil && within(to, root) {
			return "descriptor " + fd.Name() + " is " + to
		}
	}
	return ""
}

func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// Cgroups lists the control groups that look like a container's: 64
// hexadecimal digits in the name.
func Cgroups() map[string]bool {
	found := map[string]bool{}
	filepath.WalkDir("/sys/fs/cgroup", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && longHex(d.Name()) {
			found[p] = true
		}
		return nil
	})
	return found
}

// AbandonedCgroups lists the control groups that are not in before and stay
// without a process: what a container left. One with processes is in use,
// perhaps by somebody else on this machine.
func AbandonedCgroups(before map[string]bool) []string {
	var out []string
	for range 60 {
		out = nil
		for path := range Cgroups() {
			procs, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
			if !before[path] && err == nil && len(procs) == 0 {
				out = append(out, path)
			}
		}
		if len(out) == 0 {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return out
}

func longHex(s string) bool {
	run := 0
	for _, c := range s {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'f' {
			if run++; run == 64 {
				return true
			}
		} else {
			run = 0
		}
	}
	return false
}
