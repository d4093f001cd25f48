package escape

import (
	"bufio"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth/test/lab"
)

// TestSoak runs many containers, with limits and health checks, and kills half
// of them at a random moment: the command, the shim or the first process. At
// the end all are removed, and nothing is left: no process, mount, control
// group, lock or file.
func TestSoak(t *testing.T) {
	groups := lab.Cgroups()
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		agent(t, l)
		play(t, l, soak)
	})
	for _, g := range lab.AbandonedCgroups(groups) {
		t.Errorf("control group left behind: %s", g)
	}
}

// soaker is one soak.
type soaker struct {
	*world
	image   string
	mu      sync.Mutex // guards what follows
	rand    *rand.Rand
	victims map[string]int // kinds of kill
	ran     int
}

func soak(w *world) {
	n := 100
	if s := os.Getenv("BERTH_SOAK"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			w.Fatalf("BERTH_SOAK: %v", err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	w.Logf("seed %d", seed)
	s := &soaker{world: w, image: w.image([]string{"VOLUME /data"}), rand: rand.New(rand.NewPCG(seed, 0)), victims: map[string]int{}}
	work := make(chan int)
	var wg sync.WaitGroup
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range work {
				s.one(i)
			}
		}()
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	w.Logf("%d containers, %d ended by themselves, killed: %v", n, s.ran, s.victims)
	if n >= 100 && (s.ran == 0 || s.victims["shim"] == 0 || s.victims["first process"] == 0 || s.victims["command"] == 0) {
		w.Error("some kind of end never happened: this tests nothing")
	}
	s.nothingLeft()
}

// dice draws a number below n.
func (s *soaker) dice(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.IntN(n)
}

func (s *soaker) count(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.victims[kind]++
}

// options are what a container is started with, drawn by lot.
func (s *soaker) options() []string {
	var out []string
	for _, o := range [][]string{
		{"--init"}, {"-t"}, {"--read-only"}, {"-v", "shared:/vol"}, {"--tmpfs", "/tmp"}, {"--network", "none"}, {"-u", "1000"},
		{"--health-cmd", "true", "--health-interval", "100ms", "--health-start-interval", "50ms"},
		{"--health-cmd", "sleep 5", "--health-interval", "100ms", "--health-timeout", "200ms", "--health-retries", "1"},
		{"--restart", "on-failure:2"},
	} {
		if s.dice(3) == 0 {
			out = append(out, o...)
		}
	}
	if lab.Root() { // an ordinary account has no control group here
		for _, o := range [][]string{{"-m", "64m"}, {"--cpus", "0.5"}, {"--pids-limit", "20"}, {"--cpuset-cpus", "0"}} {
			if s.dice(2) == 0 {
				out = append(out, o...)
			}
		}
	}
	return out
}

// one runs container i to its end, whichever that is.
func (s *soaker) one(i int) {
	name := fmt.Sprintf("soak%d", i)
	args := append([]string{"run", "-d", "--name", name}, s.options()...)
	if i%2 == 0 {
		args = append(args, s.image, "sh", "-c", "sleep 0.3 & sleep 0.1; exit 3")
		if r := s.run(args...); r.Code != 0 {
			s.Errorf("berth %s: code %d: %s", strings.Join(args, " "), r.Code, r.Err)
			return
		}
		if r := s.run("wait", name); strings.TrimSpace(r.Out) != "3" {
			state := s.run("inspect", "-f", "{{json .State}}", name).Out
			s.Errorf("berth %s: ended with %s, want 3: %s%s", strings.Join(args, " "), r.Out, r.Err, state)
		}
		s.mu.Lock()
		s.ran++
		s.mu.Unlock()
		return
	}
	args = append(args, s.image, "sh", "-c", "sleep 1000 & sleep 1000")
	cmd := s.p.Command("berth", args...)
	if err := cmd.Start(); err != nil {
		s.Error(err)
		return
	}
	moment := time.Duration(s.dice(120)) * time.Millisecond
	if s.dice(3) == 0 {
		time.Sleep(moment)
		cmd.Process.Kill()
		cmd.Wait()
		s.count("command")
		return
	}
	cmd.Wait()
	time.Sleep(moment)
	s.strike(name)
}

// strike kills the shim or the first process of a container.
func (s *soaker) strike(name string) {
	pid, err := strconv.Atoi(strings.TrimSpace(s.run("inspect", "-f", "{{.State.Pid}}", name).Out))
	if err != nil || pid == 0 {
		s.count("not running")
		return
	}
	kind := "first process"
	if s.dice(2) == 0 {
		if shim := parent(pid); shim > 1 {
			pid, kind = shim, "shim"
		}
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		kind = "gone already"
	}
	s.count(kind)
}

// parent is the process that made pid, from /proc/PID/stat.
func parent(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1])
	return n
}

// nothingLeft removes all there is and looks under the carpet.
func (s *soaker) nothingLeft() {
	for _, id := range strings.Fields(s.p.Must(s, "ps", "-aq", "--no-trunc")) {
		s.p.Must(s, "rm", "-f", "-v", id)
	}
	s.p.Must(s, "volume", "prune", "-a", "-f")
	for _, l := range lab.Leaks(s.p.Root) {
		s.Error("left behind: " + l)
	}
	if names, err := os.ReadDir(filepath.Join(s.p.Root, "volumes")); err == nil {
		for _, n := range names {
			if n.IsDir() {
				s.Errorf("left behind: volume %s", n.Name())
			}
		}
	}
	for _, l := range s.locks() {
		s.Error("left behind: " + l)
	}
	if !lab.Root() {
		s.ownProcesses()
	}
}

// locks lists the locks held on files of the data root.
func (s *soaker) locks() []string {
	files := map[string]string{}
	filepath.WalkDir(s.p.Root, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			if fi, err := d.Info(); err == nil {
				files[fmt.Sprint(fi.Sys().(*syscall.Stat_t).Ino)] = path
			}
		}
		return nil
	})
	var out []string
	f, err := os.Open("/proc/locks")
	if err != nil {
		return []string{err.Error()}
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 708 fe:00:13117 0 EOF
		w := strings.Fields(sc.Text())
		if len(w) < 6 {
			continue
		}
		id := strings.Split(w[5], ":")
		if path := files[id[len(id)-1]]; path != "" {
			out = append(out, "lock on "+path+": "+sc.Text())
		}
	}
	return out
}

// ownProcesses looks for processes of this account, which has no others: it may
// not look into a shim to see whose it is.
func (s *soaker) ownProcesses() {
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		cmd, _ := os.ReadFile(p + "/cmdline")
		status, err := os.ReadFile(p + "/status")
		if err == nil && strings.Contains(string(status), fmt.Sprintf("\nUid:\t%d\t", os.Getuid())) && strings.HasPrefix(string(cmd), "berth") {
			s.Errorf("left behind: process %s %q", filepath.Base(p), cmd)
		}
	}
}
