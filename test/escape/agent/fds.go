package main

import (
	"fmt"
	"os"
	"strings"
)

// descriptors lists what this process has open, and where it stands.
func descriptors() {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		fmt.Println("cannot list:", err)
		os.Exit(1)
	}
	for _, n := range names {
		to, err := os.Readlink("/proc/self/fd/" + n.Name())
		if err != nil || oursByGo(to) {
			continue
		}
		fmt.Println("fd", n.Name(), to)
	}
	cwd, err := os.Readlink("/proc/self/cwd")
	fmt.Println("cwd", cwd, err)
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		for _, key := range []string{"Groups:", "CapInh:", "CapAmb:", "Uid:", "Gid:"} {
			if strings.HasPrefix(line, key) {
				fmt.Println(strings.Join(strings.Fields(line), " "))
			}
		}
	}
}

// oursByGo reports whether the listing or the Go runtime has opened it.
func oursByGo(to string) bool {
	return strings.HasPrefix(to, "/proc/") || strings.HasPrefix(to, "/sys/fs/cgroup/") || strings.HasPrefix(to, "anon_inode:[event")
}

// sockets lists the abstract sockets that can be seen: names without a file,
// which file permissions do not guard.
func sockets() {
	b, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		fmt.Println("cannot list:", err)
		os.Exit(1)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 8 && strings.HasPrefix(f[7], "@") {
			fmt.Println(f[7])
		}
	}
}
