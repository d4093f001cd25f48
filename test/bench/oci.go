package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"berth/test/lab"
)

// ociRuntime is one OCI runtime: they all have runc's command line.
type ociRuntime struct {
	name string
	path string
	root string // its state, its own
	n    atomic.Int64
}

func (r *ociRuntime) command(args ...string) *exec.Cmd {
	return exec.Command(r.path, append([]string{"--root", r.root}, args...)...)
}

// clean removes what a run that was cut off has left.
func (r *ociRuntime) clean() {
	out, _ := r.command("list", "-q").Output()
	for _, id := range strings.Fields(string(out)) {
		r.command("delete", "--force", id).Run()
	}
}

// id is a container's name that has not been used yet.
func (r *ociRuntime) id() string { return fmt.Sprintf("bench-%d-%d", os.Getpid(), r.n.Add(1)) }

// oci compares the runtimes on the same bundles: folders made beforehand, no
// image, no log, no engine.
func (b *bench) oci() {
	b.pureHierarchies()
	b.place = lab.Open(b).Place(b, b.tempDir())
	b.machine()
	runtimes := b.runtimes()
	b.Cleanup(func() {
		for _, r := range runtimes {
			r.clean()
		}
	})
	for _, r := range runtimes {
		out, _ := r.command("--version").Output()
		first, _, _ := strings.Cut(string(out), "\n")
		fmt.Printf("  %s: %s\n", r.name, first)
	}
	bare, idle := b.bundle("bare", nil, "true"), b.bundle("idle", nil, "sleep", "1000000")
	busy := b.bundle("busy", nil, "sh", "-c", "for i in 1 2 3 4; do while :; do :; done & done; wait")
	b.ociStarts("oci run, bare bundle", runtimes, bare)
	b.ociLives(runtimes, bare)
	b.ociExecs("oci exec true", runtimes, idle)
	b.ociExecs("oci exec true, 4 busy loops inside", runtimes, busy)
	b.ociStarts("oci run, 100 mounts", runtimes, b.bundle("mounts", b.manyMounts(100), "true"))
	b.crowd("200 oci run -d in a loop", runtimes, idle, 200, 1)
	b.crowd("200 oci run -d, 8 callers", runtimes, idle, 200, 8)
}

// hybrid is where version 2 of control groups is mounted beside version 1.
const hybrid = "/sys/fs/cgroup/unified"

// pureHierarchies begins this program anew in a mount namespace without the
// version 2 hierarchy, where that lies beside version 1 and has controllers:
// crun refuses to work there.
func (b *bench) pureHierarchies() {
	controllers, err := os.ReadFile(filepath.Join(hybrid, "cgroup.controllers"))
	if err != nil || len(strings.TrimSpace(string(controllers))) == 0 {
		return
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		b.Fatal(err)
	}
	args := append([]string{"unshare", "--mount", "sh", "-c", `umount "$0" && exec "$@"`, hybrid, self}, os.Args[1:]...)
	b.Fatal(syscall.Exec(unshare, args, os.Environ()))
}

// runtimes returns berth and those that are installed, berth first.
func (b *bench) runtimes() []*ociRuntime {
	link := filepath.Join(b.place.Home, "runc")
	if err := os.Symlink(b.place.Lab.Berth(), link); err != nil {
		b.Fatal(err)
	}
	all := []*ociRuntime{{name: "berth oci", path: link, root: filepath.Join(b.place.Home, "state-berth")}}
	for _, name := range []string{"runc", "crun"} {
		path, err := exec.LookPath(name)
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: no %s here\n", name)
			continue
		}
		all = append(all, &ociRuntime{name: name, path: path, root: filepath.Join(b.place.Home, "state-"+name)})
	}
	return all
}

// mount is an entry of a bundle's mounts.
type mount struct {
	Destination string   `json:"destination"`
	Type        string   `json:"type"`
	Source      string   `json:"source"`
	Options     []string `json:"options"`
}

// manyMounts returns n bind mounts of files and folders, half of each.
func (b *bench) manyMounts(n int) []mount {
	dir := filepath.Join(b.place.Home, "sources")
	var all []mount
	for i := range n {
		source := filepath.Join(dir, fmt.Sprint(i))
		err := os.MkdirAll(source, 0o755)
		if i%2 == 1 {
			source = filepath.Join(source, "file")
			err = errors.Join(err, os.WriteFile(source, nil, 0o644))
		}
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, mount{fmt.Sprintf("/many/%d", i), "bind", source, []string{"rbind", "ro", "nosuid", "nodev"}})
	}
	return all
}

// bundle makes a bundle of what "runc spec" writes, with busybox, more mounts
// and another program.
func (b *bench) bundle(name string, mounts []mount, args ...string) string {
	dir := filepath.Join(b.place.Home, "bundle-"+name)
	b.makeRootfs(filepath.Join(dir, "rootfs"))
	if err := writeSpec(dir, args...); err != nil {
		b.Fatalf("runc spec: %v", err)
	}
	if len(mounts) == 0 {
		return dir
	}
	file := filepath.Join(dir, "config.json")
	var spec map[string]any
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &spec)
	}
	if err != nil {
		b.Fatal(err)
	}
	list := spec["mounts"].([]any)
	for _, m := range mounts {
		list = append(list, m)
	}
	spec["mounts"] = list
	if text, err = json.Marshal(spec); err == nil {
		err = os.WriteFile(file, text, 0o644)
	}
	if err != nil {
		b.Fatal(err)
	}
	return dir
}

// ociStarts compares whole containers, from start to end.
func (b *bench) ociStarts(title string, runtimes []*ociRuntime, bundle string) {
	var entries []entry
	for _, r := range runtimes {
		entries = append(entries, entry{name: r.name, run: func() error {
			return r.command("run", "--bundle", bundle, r.id()).Run()
		}})
	}
	b.compare(title, entries)
}

// ociLives compares the three commands with which engines make a container.
func (b *bench) ociLives(runtimes []*ociRuntime, bundle string) {
	var entries []entry
	for _, r := range runtimes {
		entries = append(entries, entry{name: r.name, run: func() error {
			id := r.id()
			return errors.Join(
				r.command("create", "--bundle", bundle, id).Run(),
				r.command("start", id).Run(),
				r.command("delete", "--force", id).Run())
		}})
	}
	b.compare("oci create, start, delete -f", entries)
}

// ociExecs compares one more process in a container that runs.
func (b *bench) ociExecs(title string, runtimes []*ociRuntime, bundle string) {
	var entries []entry
	for _, r := range runtimes {
		id := r.id()
		// No pipe for its output: the container would keep that open.
		if err := r.command("run", "--detach", "--bundle", bundle, id).Run(); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %s is left out: run: %v\n", title, r.name, err)
			continue
		}
		defer r.command("delete", "--force", id).Run()
		entries = append(entries, entry{name: r.name, run: func() error { return r.command("exec", id, "true").Run() }})
	}
	b.compare(title, entries)
}

// crowd has callers start n containers that stay, and shows whether a start
// takes longer when many run: the medians of the first and the last quarter.
func (b *bench) crowd(title string, runtimes []*ociRuntime, bundle string, n, callers int) {
	fmt.Printf("\n%-28s %10s %10s %10s %8s %7s\n", title, "all", "first", "last", "growth", "errors")
	for _, r := range runtimes {
		names := make([]string, n)
		for i := range names {
			names[i] = r.id()
		}
		took, all, failed := start(names, callers, func(id string) error {
			return r.command("run", "--detach", "--bundle", bundle, id).Run()
		})
		for _, id := range names {
			r.command("delete", "--force", id).Run()
		}
		if failed > 0 && r == runtimes[0] {
			b.Fatalf("%s: %s: %d of %d failed", title, r.name, failed, n)
		}
		first, last := quantile(took[:n/4], 0.5), quantile(took[n-n/4:], 0.5)
		fmt.Printf("  %-26s %8.1fms %8.1fms %8.1fms %7.2fx %7d\n", r.name, ms(all), ms(first), ms(last), float64(last)/float64(first), failed)
	}
}

// start starts one container of each name, with so many callers at once, and
// returns how long each took, in the order of their beginning, and all.
func start(names []string, callers int, run func(string) error) (took []time.Duration, all time.Duration, failed int) {
	took = make([]time.Duration, len(names))
	var next, errs atomic.Int64
	var callersDone sync.WaitGroup
	begin := time.Now()
	for range callers {
		callersDone.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(names) {
					return
				}
				t := time.Now()
				if run(names[i]) != nil {
					errs.Add(1)
				}
				took[i] = time.Since(t)
			}
		})
	}
	callersDone.Wait()
	return took, time.Since(begin), int(errs.Load())
}
