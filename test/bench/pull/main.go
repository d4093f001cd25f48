// Pull measures how fast an image comes: berth beside every other tool that is
// installed, from a registry on loopback, each into an empty store on a
// file system made for it: an ext4 with a journal, in a file, written past the
// page cache of the file system around it.
//
//	make bench-pull               the big image, by everybody
//	make bench-range              berth over a long, slow line: many ranges against one stream
//	go run ./test/bench/pull -h   the choices
//
// A round lets one tool after the other pull once, so that whatever else the
// machine does hits all alike; ratios are taken within a round, and the median,
// smallest and largest are printed. Before each pull the blobs are read once,
// so that the registry serves everybody from memory, and what the last tool
// has written is on the disk. Times and memory are those of all processes of a
// tool: for docker and containerd the daemons count, for they do the work.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"berth/test/lab"
)

func main() {
	b := &bench{}
	flag.IntVar(&b.rounds, "rounds", 3, "rounds")
	flag.StringVar(&b.image, "image", "big/big", "image to pull: big/big, big/single or big/weights")
	only := flag.String("only", "", "tools to measure, by comma (default all)")
	what := flag.String("what", "peers", "peers, range (far registry), cores (one against two)")
	flag.DurationVar(&b.far.Delay, "delay", 30*time.Millisecond, "with range: delay of each answer")
	flag.Int64Var(&b.far.Rate, "rate", 100e6, "with range: bytes a second of each connection")
	dir := flag.String("dir", "", "folder for the stores (default: the temporary folder)")
	flag.Parse()
	defer b.close()
	// What a tool leaves running is ours to wait for.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		b.Fatal(err)
	}
	b.only = strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	b.place(*dir)
	switch *what {
	case "peers":
		b.peers()
	case "range":
		b.ranges()
	case "cores":
		b.cores()
	default:
		b.Fatalf("-what is peers, range or cores, not %s", *what)
	}
}

// bench is the state of one run. It is a [lab.T].
type bench struct {
	rounds   int
	image    string
	only     []string
	far      lab.Far
	lab      *lab.Lab
	registry string // host:port
	dir      string
	layers   []string // files of the packed layers
	packed   int64
	unpacked int64 // bytes on disk, by tar
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

// place prepares the registry and a folder, and says where all this runs.
func (b *bench) place(dir string) {
	b.lab = lab.Open(b)
	b.registry = b.lab.Big(b)
	var err error
	if b.dir, err = os.MkdirTemp(dir, "berth-bench-pull-"); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(b.dir) })
	// An ordinary account walks through it.
	if err := os.Chmod(b.dir, 0o755); err != nil {
		b.Fatal(err)
	}
	b.findLayers()
	model := "?"
	info, _ := os.ReadFile("/proc/cpuinfo")
	if _, after, ok := strings.Cut(string(info), "model name\t: "); ok {
		model, _, _ = strings.Cut(after, "\n")
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("%d cores (%s), kernel %s, %s, uid %d, %s\n", runtime.NumCPU(), model, strings.TrimSpace(string(kernel)), runtime.Version(), os.Getuid(), time.Now().Format(time.DateOnly))
	fmt.Printf("  load before: %s", load)
	fmt.Printf("  %s: %d layers, %.0f MB packed\n", b.image, len(b.layers), mb(b.packed))
}

func mb(n int64) float64 { return float64(n) / 1e6 }

// row is what was measured of one tool.
type row struct {
	name string
	runs []usage
}

// round-robin: every tool once in each round, the first that fails is left out.
func (b *bench) measure(tools []tool) []row {
	rows := make([]row, len(tools))
	for round := range b.rounds {
		for i, t := range tools {
			rows[i].name = t.name
			if len(rows[i].runs) < round {
				continue // failed before
			}
			u, err := b.once(t)
			if err != nil {
				fmt.Fprintf(os.Stderr, "bench: %s failed and is left out: %v\n", t.name, err)
				if i == 0 {
					b.Fatalf("%s is what the others are compared with", t.name)
				}
				continue
			}
			fmt.Fprintf(os.Stderr, "  round %d: %-26s %6.2fs, cpu %6.2fs, %4.0f MiB, %5.0f MB on disk\n", round+1, t.name, u.wall.Seconds(), u.cpu.Seconds(), u.memory, mb(u.disk))
			rows[i].runs = append(rows[i].runs, u)
		}
	}
	return rows
}

// once lets a tool pull into an empty store.
func (b *bench) once(t tool) (usage, error) {
	eject, err := b.disk()
	if err != nil {
		return usage{}, err
	}
	defer eject()
	store := filepath.Join(b.dir, "disk", "store")
	if err := os.Mkdir(store, 0o755); err != nil {
		return usage{}, err
	}
	stop, daemons, err := t.start(store)
	if err != nil {
		return usage{}, err
	}
	defer stop()
	if err := b.calm(); err != nil {
		return usage{}, err
	}
	u, err := watch(t.pull(store), daemons)
	if err != nil {
		return u, err
	}
	u.disk, err = diskUsage(store)
	return u, err
}

// calm has the blobs in memory and nothing waiting to be written.
func (b *bench) calm() error {
	exec.Command("sync").Run()
	for _, l := range b.layers {
		if err := exec.Command("cat", l).Run(); err != nil { // into nothing
			return err
		}
	}
	return nil
}

// table prints rows, each compared with the first, round by round.
func (b *bench) table(title string, rows []row) {
	fmt.Printf("\n%-30s %8s %8s %7s %16s %9s %9s %6s\n", title, "median", "fastest", "ratio", "(least, most)", "cpu", "memory", "disk")
	for _, r := range rows {
		if len(r.runs) == 0 {
			continue
		}
		var walls, cpus, memories, disks, ratios []float64
		for i, u := range r.runs {
			walls = append(walls, u.wall.Seconds())
			cpus = append(cpus, u.cpu.Seconds())
			memories = append(memories, u.memory)
			disks = append(disks, float64(u.disk))
			ratios = append(ratios, u.wall.Seconds()/rows[0].runs[i].wall.Seconds())
		}
		disk := ""
		if b.unpacked > 0 {
			disk = fmt.Sprintf("%5.2fx", median(disks)/float64(b.unpacked))
		}
		fmt.Printf("  %-28s %7.2fs %7.2fs %6.2fx %16s %8.2fs %6.0fMiB %s\n", r.name, median(walls), slices.Min(walls), median(ratios),
			fmt.Sprintf("(%.2f, %.2f)", slices.Min(ratios), slices.Max(ratios)), median(cpus), slices.Max(memories), disk)
	}
}

func median(v []float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[(len(s)-1)/2]
}

// peers compares everybody.
func (b *bench) peers() {
	tools := b.tools()
	b.measureFiles()
	fmt.Printf("  unpacked by tar: %.0f MB on disk\n", mb(b.unpacked))
	b.table("pull of "+b.image, b.measure(tools))
}

// ranges pulls over a long, slow line, once with and once without ranges.
func (b *bench) ranges() {
	far := b.far
	far.Upstream = b.registry
	one := far
	one.IgnoreRange = true
	many := lab.StartProxy(b, far)
	tools := []tool{
		b.berth("berth, ranges", many.Addr),
		b.berth("berth, one stream a layer", lab.StartProxy(b, one).Addr),
	}
	for _, t := range b.tools()[1:] {
		if t.repo != nil {
			far := t.repo(many.Addr)
			far.name += ", same line"
			tools = append(tools, far)
		}
	}
	fmt.Printf("  each answer %v late, %.0f MB/s a connection\n", far.Delay, mb(far.Rate))
	b.table(b.image+" from afar", b.measure(b.chosen(tools)))
	t := many.Traffic()
	fmt.Printf("  the first: %d connections, at most %d answers at once, %.1f MB longest\n", t.Connections, t.Most, mb(t.Longest))
}

// cores compares one core with all.
func (b *bench) cores() {
	all := b.berth("berth, all cores", b.registry)
	single := b.berth("berth, one core", b.registry)
	pull := single.pull
	single.pull = func(store string) *exec.Cmd {
		cmd := pull(store)
		taskset, err := exec.LookPath("taskset")
		if err != nil {
			b.Fatal(err)
		}
		cmd.Args = append([]string{"taskset", "-c", "0", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = taskset
		return cmd
	}
	b.table(b.image, b.measure([]tool{all, single}))
}
