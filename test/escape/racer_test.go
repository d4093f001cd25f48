package escape

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/test/images"
	"berth/test/lab"
)

// TestRacer has a container exchange folders for links without a pause, in its
// own tree and in volumes that other containers use, while berth starts, joins,
// copies, commits, exports and fills. Nothing may come out or go in, whatever
// becomes of each single command; and of each kind some must come to their end,
// or nothing was tested.
//
// Fails without RESOLVE_IN_ROOT in transfer.Root (copies), O_NOFOLLOW in
// layer.openDir (fills), and, with /dev as the shared volume, without a source
// of masks that is held by descriptor in runtime.mask.
func TestRacer(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		agent(t, l)
		play(t, l, race)
	})
}

// round is one kind of command that is run against the racer.
type round struct {
	name string
	args []string
	// hopeless marks what no luck lets succeed, at least not here.
	hopeless bool
}

func raceTime(w *world) time.Duration {
	s := os.Getenv("BERTH_RACER")
	if s == "" {
		return 15 * time.Second
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		w.Fatalf("BERTH_RACER: %v", err)
	}
	return d
}

func race(w *world) {
	var tree []images.Entry
	for i := range 12 {
		dir := fmt.Sprintf("fill/d%d/", i)
		tree = append(tree, images.Entry{Name: dir}, images.Entry{Name: dir + "sub/"}, images.Entry{Name: dir + "sub/secret", Body: "of the image\n"}, images.Entry{Name: dir + "planted", Body: "planted\n"})
	}
	img := w.image(nil, append([]images.Entry{{Name: "work/"}, {Name: "fill/"}}, tree...)...)
	through := w.throughHost("/proc/self/fd/18")
	w.start("racer", "swapping", "-v", "shared:/vol", img, "agent", "swap", "/vol/a="+w.canary, "/work/a="+w.canary)
	w.start("other", "swapping", "-v", "shared:/vol", "-v", "dev:/devices", img, "agent", "swap", "/vol/b="+through, "/devices/null=/proc/timer_list", "/devices/pts=/proc/sys")
	w.start("ambush", "waiting", "-v", "fill:/v:nocopy", img, "agent", "ambush", "/v", w.canary)
	out := filepath.Join(w.dir, "out")
	in := filepath.Join(w.dir, "in")
	for _, name := range []string{"secret", "planted", "sub/secret"} {
		p := filepath.Join(in, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			w.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("from outside\n"), 0o644); err != nil {
			w.Fatal(err)
		}
	}
	won, tried, last := map[string]int{}, map[string]int{}, map[string]string{}
	start := time.Now()
	end := start.Add(raceTime(w))
	// A way that never came to its end was not tested: it gets more time.
	again := func(r round) bool { return !r.hopeless && won[r.name] == 0 && time.Since(start) < 2*raceTime(w) }
	for more := true; more && !w.Failed(); {
		more = time.Now().Before(end)
		for _, r := range rounds(w, img, in, out) {
			if !time.Now().Before(end) && tried[r.name] > 0 && !again(r) {
				continue
			}
			more = true
			res := w.run(r.args...)
			tried[r.name]++
			if res.Code == 0 {
				won[r.name]++
			} else {
				last[r.name] = strings.TrimSpace(res.Err)
			}
			w.none(res.Out, "REACHED /proc")
			w.noSecret(out)
			os.RemoveAll(out)
			w.untouched()
		}
	}
	for _, r := range rounds(w, img, in, out) {
		w.Logf("%-14s %3d of %3d came to their end; else: %.150s", r.name, won[r.name], tried[r.name], last[r.name])
		if won[r.name] == 0 && !r.hopeless {
			w.Errorf("%s never succeeded: this tests nothing", r.name)
		}
	}
}

func rounds(w *world, img, in, out string) []round {
	look := "cat /vol/a/secret /vol/b/secret secret; echo > planted; true"
	start := func(args ...string) []string { return append([]string{"run", "--rm", "-v", "shared:/vol"}, args...) }
	return []round{
		{name: "mount folder", args: start("-v", "more:/vol/a/planted", img, "sh", "-c", look)},
		{name: "mount deep", args: start("-v", "more:/vol/b/below/deep", "--tmpfs", "/vol/a/tmp", img, "sh", "-c", look)},
		{name: "mount file", args: start("-v", filepath.Join(in, "planted")+":/vol/a/file", img, "sh", "-c", look)},
		{name: "working folder", args: start("-w", "/vol/a/planted", img, "sh", "-c", look)},
		{name: "exec", args: []string{"exec", "-w", "/work/a", "racer", "sh", "-c", look}},
		{name: "cp in", args: []string{"cp", in + "/.", "racer:/work/a"}},
		{name: "cp in volume", args: []string{"cp", in + "/.", "racer:/vol/b"}},
		{name: "cp out", args: []string{"cp", "-L", "racer:/work/a", out}},
		{name: "cp out volume", args: []string{"cp", "racer:/vol/b/", out}},
		{name: "commit", args: []string{"commit", "-p=false", "racer", "taken"}},
		{name: "export", args: []string{"export", "-o", out, "racer"}},
		{name: "diff", args: []string{"diff", "racer"}},
		{name: "fill", args: []string{"run", "--rm", "-v", "fill:/fill", img, "true"}},
		{name: "devices", args: []string{"run", "--rm", "-t", "-v", "dev:/dev", img, "agent", "reach"}, hopeless: true},
	}
}

// TestRacerRaces: the racer's links lead where they should, or nothing above
// means anything: a shell of the host that follows them finds the secret.
func TestRacerRaces(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		agent(t, l)
		play(t, l, func(w *world) {
			img := w.image(nil)
			w.start("racer", "swapping", "-v", "shared:/vol", img, "agent", "swap", "/vol/a="+w.canary)
			data := strings.TrimSpace(w.p.Must(w, "volume", "inspect", "-f", "{{.Mountpoint}}", "shared"))
			inside, outside := 0, 0
			for start := time.Now(); time.Since(start) < lab.Patience && (inside == 0 || outside == 0); {
				if b, err := os.ReadFile(filepath.Join(data, "a", "secret")); err == nil && string(b) == images.Secret {
					outside++
				}
				if _, err := os.Stat(filepath.Join(data, "a", "inside")); err == nil {
					inside++
				}
			}
			if inside == 0 || outside == 0 {
				w.Errorf("who follows the path finds the folder %d times, the host %d times", inside, outside)
			}
		})
	})
}
