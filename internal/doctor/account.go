package doctor

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/cgroup"
	"berth/internal/logind"
)

// cgroups says which limits can be had.
func (p *patient) cgroups() []Finding {
	f, err := cgroup.Detect()
	if err != nil {
		return []Finding{warning(err.Error(), "no limits, no statistics", "")}
	}
	if f.Version() == "" {
		return []Finding{warning("no control groups are mounted", "no limits, no statistics, and no pause", "mount -t cgroup2 none /sys/fs/cgroup, which every init system does")}
	}
	var have []string
	why := map[string][]string{}
	var reasons []string
	for _, c := range []string{"memory", "cpu", "pids", "cpuset", "blkio"} {
		if w := logind.WhyNot(f, c); w != "" {
			if why[w] == nil {
				reasons = append(reasons, w)
			}
			why[w] = append(why[w], c)
		} else {
			have = append(have, c)
		}
	}
	var out []Finding
	if len(have) > 0 {
		out = append(out, fine("version %s, with limits for %s", f.Version(), and(have)))
	}
	for _, w := range reasons {
		reason, remedy, _ := strings.Cut(w, "; ")
		out = append(out, warning(fmt.Sprintf("version %s, without limits for %s", f.Version(), and(why[w])),
			reason+", so options that ask for them have no effect", remedy))
	}
	return out
}

// session says whether containers outlive a logout.
func (p *patient) session() []Finding {
	if !p.host.Rootless {
		return nil
	}
	if !p.has("run/systemd/system") {
		return []Finding{fine("no systemd here: nothing ends containers at logout")}
	}
	return []Finding{p.judgeSession(logind.Detect())}
}

func (p *patient) judgeSession(s logind.Session) Finding {
	why, remedy, ends := strings.Cut(s.Ends(), "; to keep containers running: ")
	if !ends {
		return fine("containers outlive a logout")
	}
	f := warning("containers end at logout", strings.TrimPrefix(why, "this container ends when you log out, as "), remedy)
	return f.by(func() (string, error) {
		words := strings.Fields(remedy)
		return p.run(words[0], words[1:]...)
	})
}

// limits says what a process of the account may have.
func (p *patient) limits() []Finding {
	var files, locked unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &files)
	_ = unix.Getrlimit(unix.RLIMIT_MEMLOCK, &locked)
	var out []Finding
	if files.Max < 4096 {
		out = append(out, warning(fmt.Sprintf("a process may have %d files open", files.Max), "servers and data loaders in containers may run out of them",
			"an administrator raises nofile in /etc/security/limits.conf"))
	}
	if locked.Max < 64<<10 {
		out = append(out, warning(fmt.Sprintf("a process may lock %d bytes of memory", locked.Max), "programs that use RDMA or io_uring fail",
			"an administrator raises memlock in /etc/security/limits.conf"))
	}
	out = append(out, p.sharedMemory()...)
	if len(out) == 0 {
		out = append(out, fine("%s open files, %s of locked memory, /dev/shm of %d MiB", number(files.Max), bytesOf(locked.Max), shmSize(p.path("dev/shm"))>>20))
	}
	return out
}

// lowShm is what every container has as its own /dev/shm without a word.
const lowShm = 64 << 20

// sharedMemory is about the machine's own, which --ipc host has.
func (p *patient) sharedMemory() []Finding {
	switch size := shmSize(p.path("dev/shm")); {
	case size == 0:
		return []Finding{warning("there is no /dev/shm", "--ipc host has no shared memory", "mount -t tmpfs tmpfs /dev/shm")}
	case size < lowShm:
		return []Finding{warning(fmt.Sprintf("/dev/shm has %d MiB", size>>20), "programs with --ipc host may run out of it", "mount -o remount,size=1g /dev/shm")}
	}
	return nil
}

func shmSize(path string) uint64 {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return 0
	}
	return st.Blocks * uint64(st.Bsize)
}

func number(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return fmt.Sprint(n)
}

func bytesOf(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
