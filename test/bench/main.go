// Bench measures berth beside every other container tool that is installed and
// works here, in one run: docker, podman, nerdctl, runc and bwrap. Each round
// times one command of each tool in turn, so that whatever else the machine
// does hits all alike. It prints medians, 90th percentiles and the ratio of
// the medians to berth's.
//
//	make bench            all tools, as root; berth as an ordinary account too
//	make bench-oci        `berth oci` beside runc and crun only
//	BENCH_ROUNDS=100 ...  more rounds
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"berth/test/lab"
)

func main() {
	b := &bench{rounds: 40, budget: 15 * time.Second}
	if n, err := strconv.Atoi(os.Getenv("BENCH_ROUNDS")); err == nil {
		b.rounds = n
	}
	defer b.close()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		b.Fatal("interrupted")
	}()
	only := flag.String("only", "", "oci: the OCI runtimes only")
	flag.Parse()
	if *only == "oci" {
		b.oci()
		return
	}
	b.place = lab.Open(b).Place(b, b.tempDir())
	b.tools = b.findTools()
	b.machine()
	b.short()
	b.long()
	b.listing()
	b.memory()
}

// bench is the state of one run. It is a [lab.T].
type bench struct {
	rounds   int
	budget   time.Duration // for one tool in one comparison
	place    *lab.Place
	tools    []tool
	rootfs   string
	cleanups []func()
}

func (b *bench) Helper()                      {}
func (b *bench) Cleanup(f func())             { b.cleanups = append(b.cleanups, f) }
func (b *bench) Logf(format string, a ...any) { fmt.Fprintf(os.Stderr, format+"\n", a...) }
func (b *bench) Fatal(a ...any)               { b.Fatalf("%s", fmt.Sprint(a...)) }
func (b *bench) Fatalf(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", a...)
	b.close()
	os.Exit(1)
}

func (b *bench) close() {
	slices.Reverse(b.cleanups)
	for _, f := range b.cleanups {
		f()
	}
	b.cleanups = nil
}

func (b *bench) tempDir() string {
	dir, err := os.MkdirTemp("", "berth-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		b.place.Clean()
		exec.Command("chmod", "-R", "u+rwX", dir).Run()
		os.RemoveAll(dir)
	})
	return dir
}

func (b *bench) machine() {
	model := "?"
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	fmt.Printf("%d cores (%s), kernel %s, %s, uid %d, %s\n", runtime.NumCPU(), model, strings.TrimSpace(string(kernel)), runtime.Version(), os.Getuid(), time.Now().Format(time.DateOnly))
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("  load before: %s", load)
	for _, t := range b.tools {
		out, _ := t.command("--version").Output()
		first, _, _ := strings.Cut(string(out), "\n")
		fmt.Printf("  %s: %s\n", t.name, first)
	}
}

// entry is one way to do the measured thing.
type entry struct {
	name    string
	cmd     func() *exec.Cmd
	run     func() error // in place of cmd, when it takes several commands
	cleanup func()       // after each round, not timed
}

// time does it once.
func (e entry) time() (time.Duration, error) {
	run, what := e.run, e.name
	if run == nil {
		cmd := e.cmd()
		run, what = cmd.Run, fmt.Sprint(cmd.Args)
	}
	start := time.Now()
	err := run()
	took := time.Since(start)
	if err != nil {
		err = fmt.Errorf("%s: %w", what, err)
	}
	return took, err
}

// compare times the entries in turn and prints a table.
func (b *bench) compare(title string, entries []entry) {
	times := make([][]time.Duration, len(entries))
	spent := make([]time.Duration, len(entries))
	for round := range b.rounds + 1 {
		for i, e := range entries {
			if spent[i] > b.budget {
				continue
			}
			start := time.Now()
			took, err := e.time()
			if err != nil && strings.HasPrefix(e.name, "berth") {
				b.Fatalf("%s: %s: %v", title, e.name, err)
			}
			if err != nil {
				fmt.Fprintf(os.Stderr, "bench: %s: %s failed and is left out: %v\n", title, e.name, err)
				times[i], spent[i] = nil, b.budget+1
				continue
			}
			if e.cleanup != nil {
				e.cleanup()
			}
			if round > 0 { // the first warms caches
				times[i] = append(times[i], took)
				spent[i] += time.Since(start)
			}
		}
	}
	fmt.Printf("\n%-28s %10s %10s %8s %7s\n", title, "median", "p90", "ratio", "rounds")
	base := quantile(times[0], 0.5)
	for i, e := range entries {
		if len(times[i]) == 0 {
			continue
		}
		m := quantile(times[i], 0.5)
		fmt.Printf("  %-26s %8.1fms %8.1fms %7.2fx %7d\n", e.name, ms(m), ms(quantile(times[i], 0.9)), float64(m)/float64(base), len(times[i]))
	}
}

func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	s := slices.Clone(d)
	slices.Sort(s)
	return s[int(q*float64(len(s)-1)+0.5)]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// short compares a whole container and the bare start of the program.
func (b *bench) short() {
	var runs []entry
	for _, t := range b.tools {
		runs = append(runs, entry{name: t.name, cmd: t.runTrue})
	}
	b.compare("run --rm IMAGE true", runs)

	hello := b.hello()
	versions := []entry{{name: "Go hello world", cmd: func() *exec.Cmd { return exec.Command(hello) }}}
	for _, t := range b.tools {
		versions = append(versions, entry{name: t.name + " --version", cmd: func() *exec.Cmd { return t.command("--version") }})
	}
	b.compare("--version", versions)
}

// hello builds the smallest Go program.
func (b *bench) hello() string {
	dir := filepath.Join(b.place.Home, "hello")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	src := "package main\n\nimport \"os\"\n\nfunc main() { os.Stdout.WriteString(\"hello\\n\") }\n"
	if err := os.WriteFile(filepath.Join(dir, "hello.go"), []byte(src), 0o644); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", "hello", "hello.go")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("cannot build hello: %v\n%s", err, out)
	}
	return filepath.Join(dir, "hello")
}

// long compares what goes on beside a container that stays.
func (b *bench) long() {
	var starts, execs []entry
	for _, t := range b.tools {
		if t.engine() {
			starts = append(starts, entry{name: t.name, cmd: func() *exec.Cmd { return t.runDetached("bench-d") }, cleanup: func() { t.remove("bench-d") }})
		}
	}
	b.compare("run -d", starts)
	for _, t := range b.tools {
		if t.execTrue != nil {
			t.startIdle()
			execs = append(execs, entry{name: t.name, cmd: t.execTrue})
		}
	}
	b.compare("exec true", execs)
}

// listing compares ps with the one container of long and with 99 more.
func (b *bench) listing() {
	list := func(title string) {
		var entries []entry
		for _, t := range b.tools {
			if t.engine() {
				entries = append(entries, entry{name: t.name, cmd: func() *exec.Cmd { return t.command("ps", "-a") }})
			}
		}
		b.compare(title, entries)
	}
	list("ps -a, 1 container")
	for _, t := range b.tools {
		if t.engine() {
			for i := range 99 {
				t.quiet("create", "--name", fmt.Sprintf("bench-%d", i), t.image, "true")
			}
		}
	}
	list("ps -a, 100 containers")
	for _, t := range b.tools {
		if t.engine() {
			var names []string
			for i := range 99 {
				names = append(names, fmt.Sprintf("bench-%d", i))
			}
			t.remove(names...)
		}
	}
}

// memory shows what stays in memory beside an idle container.
func (b *bench) memory() {
	time.Sleep(time.Second) // idle is idle
	fmt.Printf("\n%-28s %10s %10s\n", "beside an idle container", "private", "PSS")
	for _, t := range b.tools {
		if t.beside == nil {
			continue
		}
		for _, pid := range t.beside() {
			private, pss, comm := footprint(pid)
			fmt.Printf("  %-26s %7.1fMiB %7.1fMiB\n", t.name+": "+comm, private, pss)
		}
	}
	for _, t := range b.tools {
		t.stopIdle()
	}
}

// footprint returns the private and the proportional memory of a process.
func footprint(pid int) (private, pss float64, comm string) {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	smaps, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(smaps)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(f[1], 64)
		switch {
		case strings.HasPrefix(f[0], "Private_"):
			private += kib / 1024
		case f[0] == "Pss:":
			pss = kib / 1024
		}
	}
	return private, pss, strings.TrimSpace(string(name))
}
