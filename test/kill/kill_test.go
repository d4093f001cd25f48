package kill

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/test/lab"
)

const (
	defaultSeed   = 20240607
	defaultRounds = 250
)

func TestKill(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		seed := number(t, "BERTH_KILL_SEED", defaultSeed)
		rounds := number(t, "BERTH_KILL_ROUNDS", defaultRounds)
		fmt.Printf("kill: uid %d, seed %d, %d rounds\n", os.Getuid(), seed, rounds)
		g := &game{t: t, rounds: rounds, p: l.Place(t, t.TempDir()), rand: rand.New(rand.NewPCG(uint64(seed), uint64(os.Getuid()))), usual: map[string]time.Duration{}, groups: map[string]string{}}
		g.before = lab.Cgroups()
		g.p.Must(t, "pull", "-q", "busybox")
		for i := range rounds {
			g.round(i)
			if t.Failed() {
				break
			}
		}
		g.end()
	})
}

func number(t *testing.T, name string, standard int) int {
	s := os.Getenv(name)
	if s == "" {
		return standard
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// game is one data root with containers that come and go.
type game struct {
	t      *testing.T
	p      *lab.Place
	rand   *rand.Rand
	rounds int
	names  int                      // how many names were given out
	usual  map[string]time.Duration // how long each kind of command takes when nobody kills it
	before map[string]bool
	groups map[string]string // control groups, with the round that showed them first
	shims  int               // how many shims were killed
}

// move is a command to be killed.
type move struct {
	kind string
	args []string
	name string // of the container it makes; empty when it makes none
}

// pick chooses a move. The containers that exist are reused now and then.
func (g *game) pick(alive []row) move {
	g.names++
	name := fmt.Sprintf("k%d", g.names)
	old := "nobody"
	if len(alive) > 0 {
		old = alive[g.rand.IntN(len(alive))].Names
	}
	moves := []move{
		{"run-d", []string{"run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "1000"}, name},
		{"run-d-restart", []string{"run", "-d", "--name", name, "--restart", "always", "busybox", "sleep", "0.05"}, name},
		{"run-rm", []string{"run", "--rm", "--name", name, "busybox", "true"}, name},
		{"run-volume", []string{"run", "--rm", "--name", name, "-v", "shared:/etc", "-v", "/anon", "busybox", "ls", "/etc"}, name},
		{"create", []string{"create", "--name", name, "busybox", "sleep", "1000"}, name},
		{"start", []string{"start", old}, ""},
		{"stop", []string{"stop", "-t", "0", old}, ""},
		{"restart", []string{"restart", "-t", "0", old}, ""},
		{"kill", []string{"kill", old}, ""},
		{"rm", []string{"rm", "-f", old}, ""},
		{"rm-v", []string{"rm", "-f", "-v", old}, ""},
		{"rename", []string{"rename", old, name}, ""},
		{"exec", []string{"exec", old, "sh", "-c", "echo hi; sleep 0.02"}, ""},
		{"pull", []string{"pull", "-q", g.p.Lab.Open + "/test/kit"}, ""},
		{"pull-large", []string{"pull", "-q", g.p.Lab.Open + "/test/large"}, ""},
		{"rmi", []string{"rmi", "-f", g.p.Lab.Open + "/test/kit"}, ""},
		{"rmi-large", []string{"rmi", "-f", g.p.Lab.Open + "/test/large"}, ""},
		{"volume", []string{"volume", "create", name}, ""},
		{"prune", []string{"container", "prune", "-f"}, ""},
		{"ps", []string{"ps", "-a"}, ""},
	}
	return moves[g.rand.IntN(len(moves))]
}

// row is a line of ps.
type row struct{ ID, Names, State string }

// list asks ps, which must answer at once and make sense whatever happened.
func (g *game) list() []row {
	g.t.Helper()
	r := g.p.Run("ps", "-a", "--no-trunc", "--format", "{{json .}}")
	if r.Code != 0 || r.Err != "" {
		g.t.Fatalf("ps -a: code %d: %s", r.Code, r.Err)
	}
	var rows []row
	seen := map[string]bool{}
	for line := range strings.Lines(r.Out) {
		var c row
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			g.t.Fatalf("ps -a says %q: %v", line, err)
		}
		if c.Names == "" || seen[c.Names] {
			g.t.Errorf("ps -a lists the name %q twice or not at all:\n%s", c.Names, r.Out)
		}
		switch c.State {
		case "created", "running", "exited", "restarting", "removing", "dead", "paused":
		default:
			g.t.Errorf("ps -a: container %s is %q", c.Names, c.State)
		}
		seen[c.Names] = true
		rows = append(rows, c)
	}
	return rows
}

func (g *game) listed(id string) bool {
	g.t.Helper()
	return slices.ContainsFunc(g.list(), func(c row) bool { return c.ID == id })
}

func (g *game) round(i int) {
	g.t.Helper()
	alive := g.list()
	m := g.pick(alive)
	if _, known := g.usual[m.kind]; !known {
		// The first of a kind runs in peace, to learn how long it takes.
		start := time.Now()
		g.p.Run(m.args...)
		g.usual[m.kind] = max(time.Since(start), 2*time.Millisecond)
		return
	}
	what := g.killed(m)
	rows := g.list()
	for path := range lab.Cgroups() {
		if g.groups[path] == "" {
			g.groups[path] = fmt.Sprintf("round %d, %s", i, what)
		}
	}
	for _, c := range rows {
		r := g.p.Run("inspect", "--type", "container", "-f", "{{.State.Status}} {{.Image}}", c.ID)
		if r.Code != 0 && g.listed(c.ID) { // one with --rm may have gone meanwhile
			g.t.Errorf("round %d, %s: %s is listed, inspect says: %s", i, what, c.Names, r.Err)
		}
	}
	g.nameIsUsable(i, what, m.name, rows)
	if len(rows) > 12 {
		for _, c := range rows[:6] {
			g.p.Must(g.t, "rm", "-f", "-v", c.ID)
		}
	}
	if g.t.Failed() {
		g.t.Fatalf("round %d: %s", i, what)
	}
}

// killed starts the move and kills it, or a shim, somewhere on its way. It
// returns what it did, in words.
func (g *game) killed(m move) string {
	cmd := g.p.Command("berth", m.args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	wait := time.Duration(g.rand.Float64() * 1.2 * float64(g.usual[m.kind]))
	shim := g.rand.IntN(4) == 0
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	time.Sleep(wait)
	what := fmt.Sprintf("%v killed after %v", m.args, wait)
	if shim {
		if pid := g.someShim(cmd.Process.Pid); pid > 0 {
			syscall.Kill(pid, syscall.SIGKILL)
			g.shims++
			what = fmt.Sprintf("shim %d killed %v into %v", pid, wait, m.args)
			// The command may go on: it must end by itself.
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			select {
			case <-ended:
			case <-time.After(lab.Patience):
				g.t.Errorf("%s: the command hangs", what)
				cmd.Process.Kill()
			}
			return what
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	return what
}

// someShim returns a shim of our data root, or 0.
func (g *game) someShim(command int) int {
	var found []int
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		pid, _ := strconv.Atoi(filepath.Base(p))
		b, err := os.ReadFile(p + "/cmdline")
		if err != nil || pid == command || !strings.HasPrefix(string(b), "berth-shim") {
			continue
		}
		if g.ours(p) {
			found = append(found, pid)
		}
	}
	if len(found) == 0 {
		return 0
	}
	return found[g.rand.IntN(len(found))]
}

// ours reports whether a shim belongs to our data root. Root can see that. An
// ordinary account may not look into a shim, but has no other data root.
func (g *game) ours(proc string) bool {
	if !lab.Root() {
		b, _ := os.ReadFile(proc + "/status")
		return strings.Contains(string(b), fmt.Sprintf("\nUid:\t%d\t", os.Getuid()))
	}
	links, _ := filepath.Glob(proc + "/fd/*")
	for _, l := range append(links, proc+"/cwd") {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, g.p.Root+"/") {
			return true
		}
	}
	return false
}

// nameIsUsable: a container whose creation was killed is either there, or its
// name is free.
func (g *game) nameIsUsable(i int, what, name string, rows []row) {
	if name == "" {
		return
	}
	for _, c := range rows {
		if c.Names == name {
			return
		}
	}
	r := g.p.Run("create", "--name", name, "busybox", "true")
	if r.Code == 0 {
		g.p.Must(g.t, "rm", name)
		return
	}
	// It may have appeared since: a shim that was alive finished its work.
	for _, c := range g.list() {
		if c.Names == name {
			return
		}
	}
	g.t.Errorf("round %d, %s: the name %s is neither listed nor free: %s", i, what, name, r.Err)
}

// end removes everything and looks under the carpet.
func (g *game) end() {
	t, p := g.t, g.p
	t.Logf("%d of the victims were shims", g.shims)
	if g.shims == 0 && g.rounds > 100 {
		t.Error("no shim was ever killed: the test does not find them")
	}
	if out := p.Must(t, "run", "--rm", "busybox", "echo", "still works"); out != "still works" {
		t.Errorf("run says %q", out)
	}
	for _, c := range g.list() {
		p.Must(t, "rm", "-f", "-v", c.ID)
	}
	p.Must(t, "volume", "prune", "-a", "-f")
	p.Must(t, "image", "prune", "-a", "-f")
	if left := lab.Leaks(p.Root); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	for _, path := range lab.AbandonedCgroups(g.before) {
		t.Errorf("control group left behind: %s, since %s", path, g.groups[path])
	}
	for _, sub := range []string{"volumes", "layers"} {
		entries, err := os.ReadDir(filepath.Join(p.Root, sub))
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(e.Name(), "lock") {
				t.Errorf("left behind: %s/%s", sub, e.Name())
			}
		}
	}
}
