package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rt "berth/internal/registry/registrytest"
)

func TestRealRegistry(t *testing.T) {
	s := rt.Start(t, rt.Options{})
	amd, arm := sample(t, "linux/amd64", true, 1000), sample(t, "linux/arm64", true, 1000)
	oci := sample(t, "linux/amd64", false, 5000)
	s.Push(t, "team/app", "", amd)
	s.Push(t, "team/app", "", arm)
	kind, list := rt.List(true, amd, arm)
	s.PushManifest(t, "team/app", "1", kind, list)
	s.Push(t, "oci", "latest", oci)
	c := newClient(t, Options{})

	for _, tc := range []struct {
		name, platform string
		want           *rt.Image
		digest         string
	}{
		{s.Addr + "/team/app:1", "linux/amd64", amd, rt.Digest(list)},
		{s.Addr + "/team/app:1", "linux/arm64/v8", arm, rt.Digest(list)},
		{s.Addr + "/team/app@" + rt.Digest(list), "linux/arm64", arm, rt.Digest(list)},
		{s.Addr + "/team/app:gone@" + amd.Digest, "linux/amd64", amd, amd.Digest},
		{s.Addr + "/oci", "", oci, oci.Digest},
	} {
		img, err := fetch(c, mustRef(t, tc.name), tc.platform)
		if err != nil {
			t.Errorf("%s %s: %v", tc.name, tc.platform, err)
			continue
		}
		if img.Digest != tc.digest || img.ConfigDesc.Digest != tc.want.ID || !slices.Equal(img.DiffIDs, tc.want.DiffIDs) {
			t.Errorf("%s %s: got %s with %s and %v", tc.name, tc.platform, img.Digest, img.ConfigDesc.Digest, img.DiffIDs)
		}
		if got, err := c.Head(context.Background(), mustRef(t, tc.name)); err != nil || got != tc.digest {
			t.Errorf("Head of %s: %s, %v", tc.name, got, err)
		}
	}

	for _, tc := range []struct {
		name, platform, want string
		kind                 error
	}{
		{s.Addr + "/team/app:1", "linux/riscv64", "no matching manifest for linux/riscv64 in the manifest list entries of " + s.Addr + "/team/app:1: has linux/amd64, linux/arm64", ErrNotFound},
		{s.Addr + "/team/app:2", "", "manifest for " + s.Addr + "/team/app:2 not found: manifest unknown", ErrNotFound},
		{s.Addr + "/nobody/nothing", "", "not found", ErrNotFound},
		{s.Addr + "/oci", "linux/arm64", "does not match the platform: wanted linux/arm64, has linux/amd64", ErrNotFound},
		{s.Addr + "/oci", "linux/", "invalid platform", ErrUnsupported},
		{s.Addr + "/oci@" + rt.Digest(nil), "", "not found", ErrNotFound},
	} {
		_, err := c.Resolve(context.Background(), mustRef(t, tc.name), tc.platform)
		contains(t, err, tc.want)
		if !errors.Is(err, tc.kind) {
			t.Errorf("%s: %v is not %v", tc.name, err, tc.kind)
		}
	}

	s.Push(t, "team/app", "2", amd)
	tags, err := c.Tags(context.Background(), mustRef(t, s.Addr+"/team/app"))
	slices.Sort(tags)
	if err != nil || !slices.Equal(tags, []string{"1", "2"}) {
		t.Errorf("tags: %v, %v", tags, err)
	}
	_, err = c.Tags(context.Background(), mustRef(t, s.Addr+"/nobody/nothing"))
	contains(t, err, "repository "+s.Addr+"/nobody/nothing not found")

	s.Stop()
	_, err = c.Resolve(context.Background(), mustRef(t, s.Addr+"/oci"), "")
	contains(t, err, "cannot reach registry "+s.Addr+": connection refused")
	if !errors.Is(err, ErrUnreachable) {
		t.Errorf("%v is not ErrUnreachable", err)
	}
}

func TestTagPages(t *testing.T) {
	f := rt.NewFake(t)
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			return false
		}
		page := []string{"a", "b"}
		if r.URL.Query().Get("last") == "" {
			w.Header().Set("Link", `</v2/x/tags/list?last=b&n=2>; rel="next"`)
		} else {
			page = []string{"c", "not a tag"}
		}
		json.NewEncoder(w).Encode(map[string]any{"tags": page})
		return true
	})
	tags, err := newClient(t, Options{}).Tags(context.Background(), mustRef(t, f.Addr+"/x"))
	if err != nil || !slices.Equal(tags, []string{"a", "b", "c"}) {
		t.Errorf("tags: %v, %v", tags, err)
	}
}

func TestMirrors(t *testing.T) {
	mirror, second, origin := rt.NewFake(t), rt.NewFake(t), rt.NewFake(t)
	img := sample(t, "linux/amd64", false, 100)
	hub := "busybox"
	setup := func(urls ...string) *Client {
		c := newClient(t, Options{Mirrors: map[string][]string{"docker.io": urls}, Insecure: []string{"registry-1.docker.io"}})
		c.route(map[string]string{"registry-1.docker.io:443": origin.Addr, "registry-1.docker.io:80": origin.Addr})
		return c
	}
	both := func() *Client { return setup(mirror.URL, second.URL+"/sub/") }

	second.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/sub/v2/") {
			t.Errorf("the mirror's path is not used: %s", r.URL.Path)
		}
		r.URL.Path = strings.TrimPrefix(r.URL.Path, "/sub")
		return false
	})

	// Nobody has it.
	_, err := fetch(both(), mustRef(t, hub), "")
	contains(t, err, "manifest for busybox:latest not found", "mirror "+mirror.Addr+" does not have it", "mirror "+second.Addr)

	// The registry itself has it.
	origin.Add("library/busybox", "latest", img)
	if _, err := fetch(both(), mustRef(t, hub), ""); err != nil {
		t.Error(err)
	}
	// A mirror has it: the registry hears nothing.
	second.Add("library/busybox", "latest", img)
	origin.Seen()
	c := both()
	if _, err := fetch(c, mustRef(t, hub), ""); err != nil {
		t.Error(err)
	}
	if seen := origin.Seen(); len(seen) > 0 {
		t.Errorf("the registry was asked although a mirror has the image: %v", seen)
	}
	// The mirror that answered first is asked first from then on.
	mirror.Seen()
	if _, err := fetch(c, mustRef(t, hub), ""); err != nil || len(mirror.Seen()) > 0 {
		t.Errorf("a mirror that does not have the image was asked again (%v)", err)
	}
	// A mirror loses a blob: the registry has it.
	lost := img.Layers[0].Digest
	second.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		r.URL.Path = strings.TrimPrefix(r.URL.Path, "/sub")
		if strings.HasSuffix(r.URL.Path, lost) {
			rt.Refuse(w, 404, "BLOB_UNKNOWN", "gone")
			return true
		}
		return false
	})
	if _, err := fetch(c, mustRef(t, hub), ""); err != nil {
		t.Error(err)
	}
	// A mirror that is down.
	down := "http://" + rt.FreeAddr(t)
	if _, err := fetch(setup(down), mustRef(t, hub), ""); err != nil {
		t.Error(err)
	}
	_, err = fetch(setup(down), mustRef(t, "busybox:no"), "")
	contains(t, err, "manifest for busybox:no not found", "cannot reach mirror", "connection refused")
	// A mirror and nothing else, as behind a closed firewall.
	origin.SetHook(func(http.ResponseWriter, *http.Request) bool { hangUp(); return true })
	mirror.Add("library/busybox", "latest", img)
	_, err = fetch(both(), mustRef(t, "busybox:no"), "")
	contains(t, err, "manifest for busybox:no not found: manifest unknown (so says mirror "+mirror.Addr, "; cannot reach registry registry-1.docker.io: ")
	if !errors.Is(err, ErrNotFound) || !errors.Is(err, ErrUnreachable) {
		t.Errorf("%v must be both ErrNotFound and ErrUnreachable", err)
	}
	kind, list := rt.List(false, img)
	mirror.AddManifest("library/busybox", "list", kind, list)
	_, err = fetch(setup(mirror.URL), mustRef(t, "busybox:list"), "linux/s390x")
	contains(t, err, "no matching manifest for linux/s390x", "has linux/amd64 (so says mirror")
}

func TestBadMirror(t *testing.T) {
	for _, m := range []string{"mirror.example", "ftp://mirror.example", "https://", "https://u:p@mirror.example", "https://mirror.example?x"} {
		if _, err := New(Options{Mirrors: map[string][]string{"docker.io": {m}}}); err == nil {
			t.Errorf("mirror %q was accepted", m)
		}
	}
}

func TestTLS(t *testing.T) {
	img := sample(t, "linux/amd64", false, 100)
	s := rt.Start(t, rt.Options{Cert: trusted})
	s.Push(t, "app", "latest", img)
	otherDir := t.TempDir()
	other := rt.Must(rt.NewCert(otherDir, "registry.example"))
	untrusted := rt.Start(t, rt.Options{Cert: other})
	untrusted.Push(t, "app", "latest", img)
	plain := rt.NewFake(t)
	plain.Add("app", "latest", img)

	certs := t.TempDir()
	dir := filepath.Join(certs, "registry.example:5000")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(other.CertFile, filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}

	for _, tc := range []struct {
		what, addr string
		name       string
		opt        Options
		want       string
	}{
		{"system CA", s.Addr, "registry.example:5000/app", Options{}, ""},
		{"loopback with TLS", "", s.Addr + "/app", Options{}, ""},
		{"loopback with a foreign CA", "", untrusted.Addr + "/app", Options{}, ""},
		{"foreign CA", untrusted.Addr, "registry.example:5000/app", Options{}, "signed by nobody this machine trusts"},
		{"foreign CA, insecure", untrusted.Addr, "registry.example:5000/app", Options{Insecure: []string{"registry.example:5000"}}, ""},
		{"foreign CA, insecure is another", untrusted.Addr, "registry.example:5000/app", Options{Insecure: []string{"registry.example"}}, `"insecure-registries"`},
		{"foreign CA, certs.d", untrusted.Addr, "registry.example:5000/app", Options{CertDirs: []string{certs}}, ""},
		{"wrong name", s.Addr, "unknown.example:5000/app", Options{}, "valid for registry.example"},
		{"plain HTTP", plain.Addr, "registry.example:5000/app", Options{}, "speaks plain HTTP"},
		{"plain HTTP, insecure", plain.Addr, "registry.example:5000/app", Options{Insecure: []string{"registry.example:5000"}}, ""},
		{"plain HTTP, loopback", "", plain.Addr + "/app", Options{}, ""},
	} {
		c := newClient(t, tc.opt)
		c.route(map[string]string{"registry.example:5000": tc.addr, "unknown.example:5000": tc.addr})
		_, err := fetch(c, mustRef(t, tc.name), "")
		if tc.want == "" && err != nil {
			t.Errorf("%s: %v", tc.what, err)
		}
		if tc.want != "" {
			contains(t, err, tc.want)
			if !errors.Is(err, ErrUnreachable) {
				t.Errorf("%s: %v is not ErrUnreachable", tc.what, err)
			}
		}
	}
}

func TestInsecureList(t *testing.T) {
	l, err := parseInsecure([]string{"a.example:5000", "10.0.0.0/8", "http://b.example"})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"a.example:5000": true, "A.example:5000": true, "a.example": false, "b.example": true,
		"10.1.2.3:5000": true, "10.1.2.3": true, "11.1.2.3": false, "[::ffff:10.0.0.1]:5": true,
	} {
		if l.has(host) != want {
			t.Errorf("%s: %v", host, !want)
		}
	}
	if _, err := parseInsecure([]string{"a/b"}); err == nil {
		t.Error("a/b was accepted")
	}
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1": true, "127.8.9.1:80": true, "[::1]:5000": true,
		"[::1]": true, "localhost.example": false, "128.0.0.1": false,
	} {
		if isLoopback(host) != want {
			t.Errorf("loopback %s: %v", host, !want)
		}
	}
}

func TestProxy(t *testing.T) {
	f := rt.NewFake(t)
	f.Add("app", "latest", sample(t, "linux/amd64", false, 10))
	c := newClient(t, Options{Insecure: []string{"proxied.example"}})
	_, err := fetch(c, mustRef(t, "proxied.example/app"), "")
	contains(t, err, "cannot reach registry proxied.example: the proxy fails", "HTTPS_PROXY")

	c = newClient(t, Options{Insecure: []string{"proxied.example"}})
	c.route(map[string]string{proxyAddr: f.Addr}) // the fake serves absolute addresses as well
	if _, err := fetch(c, mustRef(t, "proxied.example/app"), ""); err != nil {
		t.Error(err)
	}

	// A host may have a proxy of its own, or none.
	for proxy, at := range map[string]string{"http://own.example:3128": "own.example:3128", "direct": "proxied.example:80"} {
		c = newClient(t, Options{Insecure: []string{"proxied.example"}, Proxies: map[string]string{"proxied.example": proxy}})
		c.route(map[string]string{at: f.Addr, "proxied.example:443": rt.FreeAddr(t)})
		if _, err := fetch(c, mustRef(t, "proxied.example/app"), ""); err != nil {
			t.Errorf("%s: %v", proxy, err)
		}
	}
}

func TestBadManifests(t *testing.T) {
	f := rt.NewFake(t)
	img := sample(t, "linux/amd64", false, 10)
	config := img.Blobs[img.ID]
	f.Add("app", "good", img)
	c := newClient(t, Options{})
	set := func(tag, kind, raw string) { f.AddManifest("app", tag, kind, []byte(raw)) }
	replace := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(string(img.Manifest)) }

	set("schema1", "application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1,"fsLayers":[]}`)
	set("garbage", rt.OCIManifest, `<html>`)
	set("empty", rt.OCIManifest, `{}`)
	set("both", rt.OCIManifest, replace(`"schemaVersion":2`, `"schemaVersion":2,"manifests":[]`))
	set("helm", rt.OCIManifest, replace(rt.OCIConfig, "application/vnd.cncf.helm.config.v1+json"))
	set("encrypted", rt.OCIManifest, replace("v1.tar+gzip", "v1.tar+gzip+encrypted"))
	set("digest", rt.OCIManifest, replace(img.Layers[0].Digest, "sha256:../../../etc/passwd"))
	set("negative", rt.OCIManifest, replace(`"size":`, `"size":-`))
	set("count", rt.OCIManifest, replace(string(rt.Must(json.Marshal(img.Layers[0])))+",", ""))
	set("config", rt.OCIManifest, replace(img.ID, img.Layers[1].Digest, `"size":`+itoa(len(config)), `"size":`+itoa(int(img.Layers[1].Size))))
	set("hugeconfig", rt.OCIManifest, replace(`"size":`+itoa(len(config)), `"size":999999999`))
	set("foreign", rt.OCIManifest, replace("image.layer.v1", "image.layer.nondistributable.v1"))
	set("untyped", "application/json", replace(`"mediaType":"`+rt.OCIManifest+`",`, ""))
	loop := `{"schemaVersion":2,"manifests":[{"mediaType":"` + rt.OCIIndex + `","digest":"` + img.Digest + `","size":1}]}`
	set("size", rt.OCIIndex, loop)
	kind, list := rt.List(false, img)
	set("attested", kind, strings.Replace(string(list), `[`, `[{"mediaType":"`+rt.OCIManifest+`","digest":"`+rt.Digest(nil)+`","size":9,"platform":{"os":"unknown","architecture":"unknown"}},`, 1))
	set("bare", kind, `{"schemaVersion":2,"manifests":[{"mediaType":"`+rt.OCIManifest+`","digest":"`+img.Digest+`","size":`+itoa(len(img.Manifest))+`}]}`)
	set("none", kind, `{"schemaVersion":2,"manifests":[]}`)

	for tag, want := range map[string]string{
		"good": "", "foreign": "", "untyped": "", "attested": "", "bare": "",
		"schema1":    "old format (manifest schema 1)",
		"garbage":    "its manifest is not valid",
		"empty":      "none of an image",
		"both":       "a list and an image at once",
		"helm":       "it is no container image: its content is of type application/vnd.cncf.helm.config.v1+json",
		"encrypted":  "which berth cannot unpack",
		"digest":     "its manifest is not valid",
		"negative":   "its manifest is not valid",
		"count":      "lists 3 layers, but its manifest 2",
		"config":     "its configuration is not valid",
		"hugeconfig": "more than the",
		"size":       "is not what it should be",
		"none":       "no matching manifest for",
	} {
		_, err := fetch(c, mustRef(t, f.Addr+"/app:"+tag), "")
		if want == "" && err != nil {
			t.Errorf("%s: %v", tag, err)
		} else if want != "" {
			contains(t, err, want)
		}
	}

	// Content that is not what its digest says.
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/manifests/"+img.Digest) {
			w.Header().Set("Content-Type", rt.OCIManifest)
			w.Write(append([]byte(" "), img.Manifest...))
			return true
		}
		return false
	})
	_, err := fetch(c, mustRef(t, f.Addr+"/app@"+img.Digest), "")
	contains(t, err, "is not what it should be")
	if !errors.Is(err, ErrDigest) {
		t.Errorf("%v is not ErrDigest", err)
	}
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		w.Write(make([]byte, maxManifest+1))
		return true
	})
	_, err = fetch(c, mustRef(t, f.Addr+"/app:good"), "")
	contains(t, err, "too big")
}

func itoa(n int) string { return string(rt.Must(json.Marshal(n))) }

func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{},"layers":[]}`), rt.OCIManifest)
	f.Add([]byte(`{"manifests":[{"digest":"x","platform":{"os":"linux"}}]}`), rt.DockerList)
	f.Add([]byte(`{"schemaVersion":1}`), "")
	f.Fuzz(func(t *testing.T, raw []byte, kind string) {
		d, err := parseDocument(raw, kind)
		if err != nil {
			return
		}
		if d.isList() {
			d.offers()
			d.choose((&imageConfig{}).platform())
			return
		}
		if d.checkImage() == nil {
			parseConfig(raw, len(d.Layers))
		}
	})
}
