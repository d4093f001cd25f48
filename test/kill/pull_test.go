package kill

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/test/lab"
)

const (
	// defaultPulls is the number of pulls killed, per account.
	defaultPulls = 50
	many         = "test/many" // 100 MB in layers of 1 to 58 MB
	// atRisk is what one answer that is cut may cost: the chunk of 1 MiB it was
	// in, and what was on its way to a process that is no more. Towards the end
	// of a pull answers are cut in peace, too: idle connections take over from
	// slow ones.
	atRisk = 2 << 20
	// inMemory is up to which size a blob has no part file.
	inMemory = 4 << 20
)

// TestKillPulls kills pulls of one image at random moments, the command and
// what it has started at once, and starts the same pull again, until it has
// come whole; then the image goes and all begins anew. Every time the same
// image arrives, nothing of a finished layer is fetched again, and of an
// unfinished one no more than what was on its way.
//
// BERTH_KILL_PULLS sets how many are killed (200 for a thorough look); the seed
// is that of TestKill.
func TestKillPulls(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		seed := number(t, "BERTH_KILL_SEED", defaultSeed)
		kills := number(t, "BERTH_KILL_PULLS", defaultPulls)
		fmt.Printf("kill: uid %d, seed %d, %d pulls\n", os.Getuid(), seed, kills)
		g := newPuller(t, l, rand.New(rand.NewPCG(uint64(seed), uint64(os.Getuid()))))
		for g.kills < kills && !t.Failed() {
			g.cycle()
		}
		t.Logf("%d pulls killed on the way to %d images; %.1f MB fetched more than once, at most %d answers at once",
			g.kills, g.cycles, float64(g.again)/1e6, g.proxy.Traffic().Most)
		g.end()
	})
}

// puller is a data root that one image is pulled into, over and over.
type puller struct {
	t     *testing.T
	p     *lab.Place
	proxy *lab.Proxy
	rand  *rand.Rand
	image string
	usual time.Duration // how long a pull takes in peace

	id     string
	blobs  map[string]int64  // digest to size
	packed map[string]string // diff ID to digest of the packed layer
	trees  map[string]string // diff ID to a digest of the whole tree

	kills, cycles int
	again         int64
}

func newPuller(t *testing.T, l *lab.Lab, r *rand.Rand) *puller {
	g := &puller{
		t: t, rand: r, p: l.Place(t, t.TempDir()),
		// Slow enough to be hit on the way, fast enough for many hits.
		proxy: lab.StartProxy(t, lab.Far{Upstream: l.Open, Delay: 5 * time.Millisecond, Rate: 40e6}),
		blobs: map[string]int64{}, packed: map[string]string{}, trees: map[string]string{},
	}
	g.image = g.proxy.Addr + "/" + many
	g.learn()
	start := time.Now()
	g.p.Must(t, "pull", "-q", g.image)
	g.usual = time.Since(start)
	for id := range g.packed {
		g.trees[id] = treeDigest(t, g.tree(id))
	}
	g.p.Must(t, "rmi", "-f", g.image)
	return g
}

// learn asks the registry what the image is.
func (g *puller) learn() {
	g.t.Helper()
	var m struct {
		Config struct{ Digest string }
		Layers []struct {
			Digest string
			Size   int64
		}
	}
	var cfg struct {
		Rootfs struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	base := g.p.Lab.Mirror + "/v2/" + many
	lab.Fetch(g.t, base+"/manifests/latest", &m)
	lab.Fetch(g.t, base+"/blobs/"+m.Config.Digest, &cfg)
	if len(m.Layers) < 4 || len(m.Layers) != len(cfg.Rootfs.DiffIDs) {
		g.t.Fatalf("%s has %d layers and %d diff IDs", many, len(m.Layers), len(cfg.Rootfs.DiffIDs))
	}
	g.id = m.Config.Digest
	for i, l := range m.Layers {
		g.blobs[l.Digest] = l.Size
		g.packed[cfg.Rootfs.DiffIDs[i]] = l.Digest
	}
}

func (g *puller) tree(diffID string) string {
	return filepath.Join(g.p.Root, "layers", strings.TrimPrefix(diffID, "sha256:"), "tree")
}

// cycle pulls and kills until the image is there.
func (g *puller) cycle() {
	g.t.Helper()
	before := g.proxy.Settled(g.t)
	kills := 0
	for {
		finished := g.finished()
		from := g.proxy.Traffic()
		killed, err := g.pull(0.7)
		to := g.proxy.Settled(g.t)
		for digest := range finished {
			if n := to.Blobs[digest] - from.Blobs[digest]; n > 0 {
				g.t.Errorf("layer %s was finished, and %d bytes of it were fetched again", digest, n)
			}
		}
		if err != nil {
			g.t.Fatalf("after %d kills: %v", kills, err)
		}
		if !killed {
			break
		}
		kills++
	}
	g.kills += kills
	g.cycles++
	g.whole()
	g.account(before, kills)
	g.p.Must(g.t, "rmi", "-f", g.image)
}

// finished are the packed layers whose files are in place.
func (g *puller) finished() map[string]bool {
	found := map[string]bool{}
	for id, digest := range g.packed {
		if _, err := os.Stat(filepath.Dir(g.tree(id)) + "/meta.json"); err == nil {
			found[digest] = true
		}
	}
	return found
}

// pull pulls, and kills it at some moment of the first part of the usual time.
// A kill that comes too late is none; 0 of the time is no kill.
func (g *puller) pull(within float64) (killed bool, err error) {
	cmd := g.p.Command("berth", "pull", "-q", g.image)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	wait := 4 * lab.Patience
	if within > 0 {
		wait = time.Duration(g.rand.Float64() * within * float64(g.usual))
	}
	timer := time.AfterFunc(wait, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	err = cmd.Wait()
	timer.Stop()
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); within > 0 && ws.Signaled() {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("pull: %w: %s", err, out.String())
	}
	return false, nil
}

// whole looks at an image that has come: the same as ever, and it works.
func (g *puller) whole() {
	g.t.Helper()
	if id := g.p.Must(g.t, "images", "-q", "--no-trunc", g.image); id != g.id {
		g.t.Errorf("the image is %s, want %s", id, g.id)
	}
	for id, want := range g.trees {
		if got := treeDigest(g.t, g.tree(id)); got != want {
			g.t.Errorf("layer %s is not what it was", id)
		}
	}
	if out := g.p.Must(g.t, "run", "--rm", "--network", "none", g.image, "sh", "-c", "ls many | wc -l"); out != fmt.Sprint(len(g.packed)-1) {
		g.t.Errorf("run says %q", out)
	}
	if left := lab.Leaks(g.p.Root); len(left) > 0 {
		g.t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	g.noDownloads()
}

func (g *puller) noDownloads() {
	g.t.Helper()
	entries, err := os.ReadDir(filepath.Join(g.p.Root, "downloads"))
	if err != nil && !os.IsNotExist(err) {
		g.t.Error(err)
	}
	for _, e := range entries {
		g.t.Errorf("left in downloads: %s", e.Name())
	}
	if df := g.p.Must(g.t, "system", "df", "--format", "{{.Type}}: {{.TotalCount}}"); !strings.Contains(df, "Downloads: 0") {
		g.t.Errorf("system df lists downloads:\n%s", df)
	}
}

// account compares what was sent with what had to be.
func (g *puller) account(before lab.Traffic, kills int) {
	g.t.Helper()
	now := g.proxy.Settled(g.t)
	var size, small int64
	for digest, n := range g.blobs {
		size += n
		if n <= inMemory {
			small += n
		}
		if got := now.Blobs[digest] - before.Blobs[digest]; got < n {
			g.t.Errorf("%s: only %d of %d bytes were sent: the proxy counts wrong", digest, got, n)
		}
	}
	sent := now.Bytes() - before.Bytes()
	again := sent - size
	g.again += again
	if allowed := int64(kills+1)*int64(now.Most)*atRisk + int64(kills)*small; again > allowed {
		g.t.Errorf("%d kills: %.1f MB were sent for an image of %.1f MB; %.1f MB more would be in order",
			kills, float64(sent)/1e6, float64(size)/1e6, float64(allowed)/1e6)
	}
}

// end looks under the carpet.
func (g *puller) end() {
	g.t.Helper()
	g.noDownloads()
	g.p.Must(g.t, "image", "prune", "-a", "-f")
	entries, err := os.ReadDir(filepath.Join(g.p.Root, "layers"))
	if err != nil {
		g.t.Error(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(e.Name(), "lock") {
			g.t.Errorf("left behind: layers/%s", e.Name())
		}
	}
	if left := lab.Leaks(g.p.Root); len(left) > 0 {
		g.t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// treeDigest is the same for two folders only if names, kinds, modes and
// contents are.
func treeDigest(t *testing.T, dir string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		fmt.Fprintf(sum, "%s %v", rel, info.Mode())
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(sum, " %x", sha256.Sum256(b))
		}
		fmt.Fprintln(sum)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// TestDamagedDownloads: the machine lost its power in the middle of a pull.
// What the disk has then is anything: files cut off, blocks of zeros, a
// journal that is older or newer than what it speaks of. Whatever it is, the
// right image comes, at the latest when the first try has found out.
func TestDamagedDownloads(t *testing.T) {
	l := lab.Open(t)
	g := newPuller(t, l, rand.New(rand.NewPCG(uint64(number(t, "BERTH_KILL_SEED", defaultSeed)), 1)))
	done := 0
	for _, d := range damages() {
		// Kill until there is something to damage.
		for range 5 {
			killed, err := g.pull(0.5)
			if err != nil {
				t.Fatal(err)
			}
			if n := g.damage(d.do); killed && n > 0 {
				done++
				break
			}
			if !killed {
				g.p.Must(t, "rmi", "-f", g.image)
			}
		}
		if _, err := g.pull(0); err != nil {
			t.Logf("%s: found out, and begun anew: %v", d.name, err)
			if _, err := g.pull(0); err != nil {
				t.Errorf("%s: a second try: %v", d.name, err)
			}
		}
		g.whole()
		g.p.Must(t, "rmi", "-f", g.image)
		if t.Failed() {
			t.Fatalf("damage: %s", d.name)
		}
	}
	if done < len(damages())/2 {
		t.Errorf("only %d times there was something in downloads to damage: nothing is resumed", done)
	}
	g.end()
}

// damage does something to the files in downloads and returns to how many.
func (g *puller) damage(do func(r *rand.Rand, path string) error) int {
	g.t.Helper()
	dir := filepath.Join(g.p.Root, "downloads")
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		g.t.Fatal(err)
	}
	for _, e := range entries {
		if err := do(g.rand, filepath.Join(dir, e.Name())); err != nil {
			g.t.Fatal(err)
		}
	}
	return len(entries)
}

// damages are what is done to a file in downloads.
func damages() []struct {
	name string
	do   func(r *rand.Rand, path string) error
} {
	only := func(ext string, do func(r *rand.Rand, path string) error) func(r *rand.Rand, path string) error {
		return func(r *rand.Rand, path string) error {
			if filepath.Ext(path) != ext {
				return nil
			}
			return do(r, path)
		}
	}
	edit := func(do func(r *rand.Rand, b []byte) []byte) func(r *rand.Rand, path string) error {
		return func(r *rand.Rand, path string) error {
			b, err := os.ReadFile(path)
			if err != nil || len(b) == 0 {
				return err
			}
			return os.WriteFile(path, do(r, b), 0o600)
		}
	}
	cut := edit(func(r *rand.Rand, b []byte) []byte { return b[:r.IntN(len(b))] })
	zeros := edit(func(r *rand.Rand, b []byte) []byte {
		from := r.IntN(len(b))
		clear(b[from:min(len(b), from+64<<10)])
		return b
	})
	flips := edit(func(r *rand.Rand, b []byte) []byte {
		for range 1 + len(b)>>20 {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		return b
	})
	junk := edit(func(r *rand.Rand, b []byte) []byte {
		return slices.Concat(b, bytes.Repeat([]byte{byte(r.Uint32())}, 1+r.IntN(1000)))
	})
	gone := func(_ *rand.Rand, path string) error { return os.Remove(path) }
	empty := func(_ *rand.Rand, path string) error { return os.Truncate(path, 0) }
	return []struct {
		name string
		do   func(r *rand.Rand, path string) error
	}{
		{"the parts are cut off", only(".part", cut)},
		{"zeros in the parts", only(".part", zeros)},
		{"wrong bits in the parts", only(".part", flips)},
		{"the parts are gone", only(".part", gone)},
		{"the parts are empty", only(".part", empty)},
		{"more after the parts", only(".part", junk)},
		{"the journals are cut off", only(".map", cut)},
		{"zeros in the journals", only(".map", zeros)},
		{"wrong bits in the journals", only(".map", flips)},
		{"the journals are gone", only(".map", gone)},
		{"the journals are empty", only(".map", empty)},
		{"more after the journals", only(".map", junk)},
		{"all of it is zeros", zeros},
		{"all of it is wrong bits", flips},
	}
}
