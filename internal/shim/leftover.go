package shim

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// brood are the processes of a container that has no pid namespace of its own,
// where the kernel does not end all with the first. Orphans of the machine's
// pid namespace come to the shim, which is their subreaper; those of another
// container's go to that one's first process, and are known by their mount
// namespace. A control group alone would not do: ordinary accounts mostly have
// none, and none reaps.
//
// For any other container all of this does nothing.
type brood struct {
	shared bool

	mu     sync.Mutex
	births int          // processes being made, whose pid is not known yet
	own    map[int]bool // made by the shim, and reaped by who made them
}

// adopt begins to look after orphans.
func (b *brood) adopt() error {
	b.shared, b.own = true, map[int]bool{}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err)
	}
	ended := make(chan os.Signal, 1) // one that waits stands for all that follow
	signal.Notify(ended, unix.SIGCHLD)
	go func() {
		for range ended {
			b.reap()
		}
	}()
	return nil
}

// expect comes before a process is made, and born after, with nil if there is none.
func (b *brood) expect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.births++
}

func (b *brood) born(child *nsinit.Child) {
	b.mu.Lock()
	b.births--
	if b.shared && child != nil {
		b.own[child.Pid] = true
	}
	b.mu.Unlock()
	b.reap()
}

// forget is for a process of the shim's that has been reaped.
func (b *brood) forget(pid int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.own, pid)
}

// reap reaps the orphans that have ended. While a process is made it waits, as
// it would take away how that one failed; born calls it again.
func (b *brood) reap() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.shared || b.births > 0 {
		return
	}
	for _, pid := range children() {
		if !b.own[pid] {
			unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
	}
}

// end kills what is left when the first process has ended, execs too, until
// nothing is: a process can fork while it is killed. After five seconds it
// gives up, as a process that waits for a dead disk cannot be killed.
func (b *brood) end(mounts *os.File) {
	if !b.shared {
		return
	}
	pause := time.Millisecond
	for limit := time.Now().Add(5 * time.Second); b.kill(mounts) && time.Now().Before(limit); b.reap() {
		time.Sleep(pause)
		pause = min(2*pause, 50*time.Millisecond)
	}
}

// kill reports whether there was anything left to kill or to be reaped.
func (b *brood) kill(mounts *os.File) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := b.births > 0
	for _, pid := range children() {
		found = true
		if !b.own[pid] { // others may be reaped this moment, and are found below
			unix.Kill(pid, unix.SIGKILL)
		}
	}
	var st unix.Stat_t
	if mounts == nil || unix.Fstat(int(mounts.Fd()), &st) != nil {
		return found
	}
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range all {
		if killIn(proc, fmt.Sprintf("mnt:[%d]", st.Ino)) {
			found = true
		}
	}
	return found
}

// killIn kills the process of a folder of /proc if it is in the mount
// namespace. It is held by a descriptor from before it is looked at, so that
// nothing else can have got its pid. One that has ended is in no namespace.
func killIn(proc, mounts string) bool {
	if link, err := os.Readlink(proc + "/ns/mnt"); err != nil || link != mounts {
		return false
	}
	pid, err := strconv.Atoi(filepath.Base(proc))
	if err != nil {
		return false
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if link, err := os.Readlink(proc + "/ns/mnt"); err != nil || link != mounts {
		return false
	}
	return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
}

// children are the shim's, whichever of its threads they belong to (proc(5),
// /proc/pid/task/tid/children; CONFIG_PROC_CHILDREN).
func children() (pids []int) {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		b, _ := os.ReadFile(list) // the thread may be gone
		for _, word := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
