package fault

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/test/lab"
)

// image is pulled: a small layer, which comes with one request, and one of 24
// MiB, which may come in ranges.
const image = "test/large"

// outage is longer than a pull waits for a network to come back before it gives
// up: what breaks off again and again looks like one that is down.
const outage = 5 * time.Minute

// outcome is what a fault may lead to.
type outcome int

const (
	works  outcome = iota // it is overcome
	fails                 // it cannot be overcome
	either                // both are sensible; never something else
)

// faults are the tricks, with what they may lead to and what is to be said
// then.
var faults = []struct {
	trick string
	want  outcome
	says  string // part of the error, a regular expression
}{
	{"fine", works, ""},

	{"flip", fails, `(?i)digest|sha256|damaged|checksum`},
	{"flip-once", either, `(?i)digest|sha256|damaged|checksum`},
	{"cut", fails, `.`},
	{"cut-once", works, ""},
	{"reset-0", works, ""},
	{"reset-700000", works, ""},
	{"reset-20000000", works, ""},
	{"short", fails, `.`},
	{"long", either, `.`},
	{"length", either, `.`},
	{"flipmanifest", fails, `.`},
	{"flipconfig", fails, `(?i)digest|sha256`},
	{"huge", fails, `.`},

	{"busy", works, ""},
	{"patience", works, ""},
	{"burst", works, ""},
	{"broken", fails, `500|out of order`},
	{"html", fails, `.`},
	{"html-blob", fails, `.`},
	{"gone", fails, `(?i)not found|unknown|404`},
	{"gone-late", either, `(?i)not found|unknown|404`},
	{"refused-late", either, `(?i)denied|403`},

	{"denied", fails, `(?i)denied|unauthorized|login|authentication`},
	{"expire", works, ""},
	{"away", works, ""},
	{"loop", fails, `(?i)redirect`},

	{"norange", works, ""},
	{"norange-late", works, ""},
	{"norange-416", either, `shorter`},
	{"norange-bare", either, `.`},
	{"range-other", either, `.`},
	{"range-lies", either, `(?i)digest|sha256|damaged|checksum|range`},
	{"range-total", either, `.`},
	{"range-cap-300000", either, `another part`},
}

func TestFaults(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		truth := look(t, l, "http://"+l.Open)
		for _, f := range faults {
			t.Run(f.trick, func(t *testing.T) {
				p := l.Place(t, t.TempDir())
				name := l.Tricky + "/" + f.trick + "/" + image
				before := seen(t, l)
				r := p.RunFor(outage, "pull", "-q", name)
				judge(t, r, f.want, f.says)
				truth.state(t, p, r.Code == 0)
				if r.Code == 0 {
					truth.runs(t, p, name)
				}
				if now := seen(t, l); len(now.Leaked) > 0 || now.Impatient > before.Impatient {
					t.Errorf("sent to the other host: %v; came back too soon: %d times", now.Leaked, now.Impatient-before.Impatient)
				} else if f.trick == "away" && now.Elsewhere == before.Elsewhere {
					t.Error("nobody came to the other host: the test tests nothing")
				}
				// What was left must not spoil the next try.
				good := l.Tricky + "/fine/" + image
				p.Must(t, "pull", "-q", good)
				truth.state(t, p, true)
				truth.runs(t, p, good)
			})
		}
	})
}

// judge looks at how a pull ended.
func judge(t *testing.T, r lab.Result, want outcome, says string) {
	t.Helper()
	if want == works && r.Code != 0 {
		t.Errorf("must be overcome: code %d: %s", r.Code, r.Err)
	}
	if want == fails && r.Code == 0 {
		t.Errorf("cannot have worked, but says %s", r.Out)
	}
	if r.Code == 0 {
		return
	}
	if r.Code != 1 {
		t.Errorf("exit code %d, want 1", r.Code)
	}
	text := strings.TrimSpace(r.Err)
	if text == "" || strings.Contains(text, "\n") || strings.Contains(text, "goroutine") || strings.Contains(text, "panic") {
		t.Errorf("want one line, got: %s", r.Err)
	}
	if says != "" && !regexp.MustCompile(says).MatchString(text) {
		t.Errorf("the error must match %s: %s", says, text)
	}
	t.Logf("%s", text)
}

func seen(t *testing.T, l *lab.Lab) lab.Seen {
	t.Helper()
	text, err := lab.Get("http://"+l.Tricky+"/seen", lab.Patience)
	if err != nil {
		t.Fatal(err)
	}
	var s lab.Seen
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// truth is what the image is.
type truth struct {
	id     string            // digest of the configuration
	blobs  []string          // digests of the packed layers
	layers map[string]string // diff ID to a digest of the whole tree
}

// look learns the truth from a registry that behaves, with no help of pull but
// for the trees.
func look(t *testing.T, l *lab.Lab, registry string) truth {
	t.Helper()
	var m struct {
		Config struct{ Digest string }
		Layers []struct{ Digest string }
	}
	lab.Fetch(t, registry+"/v2/"+image+"/manifests/latest", &m)
	var cfg struct {
		Rootfs struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	lab.Fetch(t, registry+"/v2/"+image+"/blobs/"+m.Config.Digest, &cfg)
	p := l.Place(t, t.TempDir())
	p.Must(t, "pull", "-q", l.Open+"/"+image)
	tr := truth{id: m.Config.Digest, layers: map[string]string{}}
	for _, layer := range m.Layers {
		tr.blobs = append(tr.blobs, layer.Digest)
	}
	for _, id := range cfg.Rootfs.DiffIDs {
		tr.layers[id] = treeDigest(t, filepath.Join(p.Root, "layers", strings.TrimPrefix(id, "sha256:"), "tree"))
	}
	if len(tr.layers) != 2 || len(tr.blobs) != 2 {
		t.Fatalf("the image has layers %v", tr.layers)
	}
	return tr
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
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(sum, " %x", sha256.Sum256(b))
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(sum, " %s", to)
		}
		fmt.Fprintln(sum)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// state looks at the data root after a pull. Each layer there must be one of
// the image's, whole and right.
func (tr truth) state(t *testing.T, p *lab.Place, worked bool) {
	t.Helper()
	var layers []string
	for _, name := range names(t, filepath.Join(p.Root, "layers")) {
		if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "lock") {
			continue
		}
		id := "sha256:" + name
		layers = append(layers, id)
		want, ok := tr.layers[id]
		if !ok {
			t.Errorf("a layer that the image does not have: %s", id)
		} else if got := treeDigest(t, filepath.Join(p.Root, "layers", name, "tree")); got != want {
			t.Errorf("layer %s is not what it should be", id)
		}
	}
	for _, name := range names(t, filepath.Join(p.Root, "downloads")) {
		hex := strings.TrimSuffix(name, filepath.Ext(name))
		if !slices.Contains(tr.blobs, "sha256:"+hex) {
			t.Errorf("in downloads: %s, which is no layer of the image", name)
		}
		if worked {
			t.Errorf("the download is finished, and left in downloads: %s", name)
		}
	}
	if left := lab.Leaks(p.Root); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	ids := strings.Fields(p.Must(t, "images", "-q", "--no-trunc"))
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if worked && (len(ids) != 1 || ids[0] != tr.id || len(layers) != len(tr.layers)) {
		t.Errorf("images %v with layers %v, want %s", ids, layers, tr.id)
	}
	if !worked && len(ids) > 0 {
		t.Errorf("a pull that failed has listed %v", ids)
	}
	if blobs := names(t, filepath.Join(p.Root, "oci/blobs/sha256")); !worked && len(blobs) > 0 {
		t.Errorf("a pull that failed has left blobs: %v", blobs)
	}
}

// names lists a folder; one that is missing is empty.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// runs starts a container of the image.
func (tr truth) runs(t *testing.T, p *lab.Place, name string) {
	t.Helper()
	out := p.Must(t, "run", "--rm", "--network", "none", name, "wc", "-c", "/large")
	if !strings.HasPrefix(out, fmt.Sprint(24<<20)) {
		t.Errorf("%s: /large has %s bytes", name, out)
	}
}
