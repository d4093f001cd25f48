package interop

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/test/lab"
)

// repos are images of each kind: OCI and Docker, one and several layers, all
// compressions, whiteouts, odd files, a configuration with everything.
var repos = []string{"library/python", "test/zstd", "test/uncompressed", "test/whiteout", "test/odd", "test/kit"}

// person is an account with berth and skopeo.
type person struct {
	*lab.Place
	t     *testing.T
	space string // where this account may push: host:port/name
}

func newPerson(t *testing.T, l *lab.Lab) *person {
	return &person{Place: l.Place(t, t.TempDir()), t: t, space: fmt.Sprintf("%s/u%d", l.Scratch, os.Getuid())}
}

// other runs another program, which must succeed, and returns its output.
func (p *person) other(name string, args ...string) string {
	p.t.Helper()
	cmd := p.Command(name, args...)
	// Where skopeo looks for logins; the usual place is not for this account.
	cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+p.Home)
	return output(p.t, cmd)
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd.Args, err, out.String(), errs.String())
	}
	return out.String()
}

// copy has skopeo copy an image; it checks all digests on its way.
func (p *person) copy(from, to string) {
	p.t.Helper()
	p.other("skopeo", "--insecure-policy", "--tmpdir", p.Home, "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", from, to)
}

// manifest returns the manifest, byte for byte, that skopeo finds.
func (p *person) manifest(image string) string {
	p.t.Helper()
	return p.other("skopeo", "--tmpdir", p.Home, "inspect", "--raw", "--tls-verify=false", image)
}

// id returns the digest of the configuration that skopeo finds, which is the
// image's ID.
func (p *person) id(image string) string {
	p.t.Helper()
	raw := p.other("skopeo", "--tmpdir", p.Home, "inspect", "--config", "--raw", "--tls-verify=false", image)
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(raw)))
}

// ours returns the ID by which berth knows an image.
func (p *person) ours(image string) string {
	p.t.Helper()
	return p.Must(p.t, "image", "inspect", "-f", "{{.Id}}", image)
}

func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got\n%s\nwant\n%s", what, got, want)
	}
}

// flat names a repository in one word.
func flat(repo string) string { return strings.ReplaceAll(repo, "/", "-") }

// TestPush: what berth pushes is what it has pulled.
func TestPush(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		for _, repo := range repos {
			t.Run(flat(repo), func(t *testing.T) {
				p := newPerson(t, l)
				name := flat(repo)
				source := l.Open + "/" + repo
				want := p.id("docker://" + source)

				// To a registry that has nothing of it: the layers are packed anew.
				fresh := p.space + "/fresh/" + name + ":one"
				p.Must(t, "pull", "-q", source)
				p.Must(t, "tag", source, fresh)
				p.Must(t, "push", fresh)
				equal(t, "configuration, pushed elsewhere", p.id("docker://"+fresh), want)
				p.copy("docker://"+fresh, "dir:"+filepath.Join(p.Home, "fresh"))
				pushed := p.manifest("docker://" + fresh)
				p.Must(t, "push", fresh)
				equal(t, "manifest, pushed a second time", p.manifest("docker://"+fresh), pushed)

				// Within one registry nothing changes, not a byte.
				orig, again := p.space+"/orig/"+name+":one", p.space+"/again/"+name+":two"
				p.copy("docker://"+source, "docker://"+orig)
				p.Must(t, "rmi", "-f", p.ours(source))
				p.Must(t, "pull", "-q", orig)
				p.Must(t, "tag", orig, again)
				p.Must(t, "push", again)
				equal(t, "manifest, in the same registry", p.manifest("docker://"+again), p.manifest("docker://"+orig))

				// What was pushed comes back as the same image, and is whole.
				p.Must(t, "rmi", "-f", p.ours(orig))
				p.Must(t, "pull", "-q", fresh)
				equal(t, "image, pulled back", p.ours(fresh), want)
			})
		}
	})
}

// TestPushKept: with its blobs kept, an image is the same everywhere.
func TestPushKept(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		for _, repo := range []string{"test/kit", "test/zstd", "test/large"} {
			p := newPerson(t, l)
			source, kept := l.Open+"/"+repo, p.space+"/kept/"+flat(repo)
			p.Must(t, "pull", "-q", "--keep-blobs", source)
			p.Must(t, "tag", source, kept)
			p.Must(t, "push", kept)
			equal(t, repo, p.manifest("docker://"+kept), p.manifest("docker://"+source))
		}
	})
}

// TestPushTags: all tags of a repository at once.
func TestPushTags(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		p := newPerson(t, l)
		p.Must(t, "pull", "-q", "-a", l.Open+"/test/tags")
		for _, tag := range []string{"one", "two"} {
			p.Must(t, "tag", l.Open+"/test/tags:"+tag, p.space+"/tags:"+tag)
		}
		p.Must(t, "push", "-a", p.space+"/tags")
		var list struct{ Tags []string }
		if err := json.Unmarshal([]byte(p.other("skopeo", "list-tags", "--tls-verify=false", "docker://"+p.space+"/tags")), &list); err != nil {
			t.Fatal(err)
		}
		slices.Sort(list.Tags)
		if !slices.Equal(list.Tags, []string{"one", "two"}) {
			t.Errorf("tags %v", list.Tags)
		}
		for _, tag := range list.Tags {
			equal(t, tag, p.id("docker://"+p.space+"/tags:"+tag), p.id("docker://"+l.Open+"/test/tags:"+tag))
		}
	})
}

// TestSave: what berth saves is read by skopeo, as both of its kinds of
// archive, and by the engines.
func TestSave(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		p := newPerson(t, l)
		engines := p.engines()
		for _, repo := range repos {
			t.Run(flat(repo), func(t *testing.T) {
				p.t = t
				source, name := l.Open+"/"+repo, "example.org/saved/"+flat(repo)+":v1"
				want := p.id("docker://" + source)
				p.Must(t, "pull", "-q", source)
				p.Must(t, "tag", source, name)
				file := filepath.Join(p.Home, flat(repo)+".tar")
				p.Must(t, "save", "-o", file, name)
				for _, kind := range []string{"docker-archive", "oci-archive"} {
					equal(t, "configuration as "+kind, p.id(kind+":"+file), want)
					p.copy(kind+":"+file, "dir:"+filepath.Join(p.Home, kind+flat(repo)))
				}
				for _, e := range engines {
					e.load(t, file)
					equal(t, e.name+" loads", e.id(t, name), want)
				}
				// And by berth itself, into an empty store.
				q := newPerson(t, l)
				q.Must(t, "load", "-q", "-i", file)
				equal(t, "berth loads", q.ours(name), want)
			})
		}
	})
}

// TestLoad: images built and saved by others load and run.
func TestLoad(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		p := newPerson(t, l)
		source, name := l.Open+"/library/busybox", "example.org/made/busybox:v1"
		for kind, want := range p.archives(source, name) {
			t.Run(kind, func(t *testing.T) {
				q := newPerson(t, l)
				for _, way := range []string{`berth load -i "$1"`, `cat "$1" | berth load`} {
					output(t, q.Command("sh", "-c", way, "sh", want.file))
					ids := strings.Fields(q.Must(t, "images", "-a", "-q", "--no-trunc"))
					if len(ids) != 1 || ids[0] != want.id {
						t.Fatalf("%s: loaded %v, want %s", way, ids, want.id)
					}
					if out := q.Must(t, "run", "--rm", "--network", "none", ids[0], "echo", "it runs"); out != "it runs" {
						t.Errorf("run says %q", out)
					}
					if want.named {
						equal(t, "name", q.ours(name), want.id)
					}
					q.Must(t, "rmi", "-f", ids[0])
				}
				if left := q.Clean(); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		}
	})
}

// archive is a file that somebody else has made.
type archive struct {
	file, id string
	named    bool // it says the image's name
}

// archives has everybody make archives of source, called name.
func (p *person) archives(source, name string) map[string]archive {
	p.t.Helper()
	made := map[string]archive{}
	file := func(kind string) string { return filepath.Join(p.Home, kind+".tar") }
	// Who turns a Docker image into an OCI one writes a configuration of its
	// own, and so an image with another ID.
	add := func(kind, transport string, named bool) {
		made[kind] = archive{file: file(kind), id: p.id(transport), named: named}
	}
	for _, kind := range []string{"docker-archive", "oci-archive"} {
		p.copy("docker://"+source, kind+":"+file("skopeo-"+kind)+":"+name)
		add("skopeo-"+kind, kind+":"+file("skopeo-"+kind), true)
	}
	// A layout as a folder, packed by hand.
	layout := filepath.Join(p.Home, "layout")
	p.copy("docker://"+source, "oci:"+layout)
	p.other("tar", "-C", layout, "-cf", file("oci-layout"), ".")
	p.other("tar", "-C", layout, "-czf", file("oci-layout-gzip"), "index.json", "oci-layout", "blobs")
	add("oci-layout", "oci:"+layout, false)
	add("oci-layout-gzip", "oci:"+layout, false)
	for _, e := range p.engines() {
		e.pull(p.t, source, name)
		for kind, args := range e.saves {
			what := e.name + "-" + kind
			e.run(p.t, slices.Concat([]string{"save", "-o", file(what)}, args, []string{name})...)
			add(what, kind+":"+file(what), true)
		}
	}
	return made
}
