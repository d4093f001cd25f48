package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/registry/ref"
	rt "berth/internal/registry/registrytest"
)

// pushClient returns a client with small chunks.
func pushClient(t *testing.T, opt Options) *Client {
	c := newClient(t, opt)
	c.chunk = 64 << 10
	return c
}

func writeTo(t *testing.T, c *Client, name string) *Target {
	t.Helper()
	dst, err := c.Target(mustRef(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return dst
}

func content(b []byte) Content {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

func TestUpload(t *testing.T) {
	big := []byte(noise(300 << 10))
	var n atomic.Int32
	slam := func(method string, times int32, some int64) rt.Hook {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == method && strings.Contains(r.URL.Path, "uploads/up") && n.Add(1) <= times {
				io.CopyN(io.Discard, r.Body, some)
				hangUp()
			}
			return false
		}
	}
	refuse := func(method string, times int32, code int, header ...string) rt.Hook {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != method || n.Add(1) > times {
				return false
			}
			if len(header) > 0 {
				w.Header().Set(header[0], header[1])
			}
			rt.Refuse(w, code, "UNKNOWN", "some trouble")
			return true
		}
	}
	for _, tc := range []struct {
		what   string
		body   []byte
		quirks rt.Quirks
		hook   func(f *rt.Fake) rt.Hook
		want   string // of the requests, "" for any
		err    string
		kind   error
	}{
		{what: "nothing", body: nil, want: "POST PUT"},
		{what: "small", body: []byte("small"), want: "POST PUT"},
		{what: "one chunk", body: big[:64<<10], want: "POST PATCH PUT"},
		{what: "chunks", body: big, want: "POST PATCH PATCH PATCH PATCH PATCH PUT"},
		{what: "relative", body: big, quirks: rt.Quirks{Relative: true}, want: "POST PATCH PATCH PATCH PATCH PATCH PUT"},
		{what: "one chunk only", body: big, quirks: rt.Quirks{OneChunk: true}, want: "POST PATCH PATCH DELETE POST PATCH PUT"},
		{what: "replaces chunks", body: big, quirks: rt.Quirks{Replaces: true}, want: "POST PATCH PATCH DELETE POST PATCH PUT"},
		{what: "big chunks only", body: big, quirks: rt.Quirks{MinChunk: 1 << 20}, want: "POST PATCH PUT"},
		{what: "limited requests", body: big[:100<<10], quirks: rt.Quirks{MaxBody: 20 << 10}, want: "POST PATCH PATCH PATCH PATCH PATCH PATCH PATCH PATCH PUT"},
		{what: "limited requests, small", body: big[:60<<10], quirks: rt.Quirks{MaxBody: 20 << 10}, want: ""},
		{what: "limited to nothing", body: big, quirks: rt.Quirks{MaxBody: 100}, err: "takes no more: HTTP status 413", kind: ErrRegistry},
		{what: "breaks before a chunk", body: big, hook: func(*rt.Fake) rt.Hook { return slam("PATCH", 2, 0) }},
		{what: "breaks within a chunk", body: big, hook: func(f *rt.Fake) rt.Hook {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == "PATCH" && n.Add(1) == 3 {
					r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, 10000), brokenReader{}))
					f.Serve(w, r)
					hangUp()
				}
				return false
			}
		}, want: "POST PATCH PATCH PATCH GET PATCH PATCH PATCH PUT"},
		{what: "breaks after a chunk", body: big, hook: func(f *rt.Fake) rt.Hook {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == "PATCH" && n.Add(1) == 2 {
					f.Serve(httptest.NewRecorder(), r)
					hangUp()
				}
				return false
			}
		}, want: "POST PATCH PATCH GET PATCH PATCH PATCH PUT"},
		{what: "breaks at the end", body: big, hook: func(f *rt.Fake) rt.Hook {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == "PUT" && n.Add(1) == 1 {
					f.Serve(httptest.NewRecorder(), r)
					hangUp()
				}
				return false
			}
		}, want: "POST PATCH PATCH PATCH PATCH PATCH PUT HEAD"},
		{what: "breaks always", body: big, hook: func(*rt.Fake) rt.Hook { return slam("PATCH", 1e6, 0) }, err: "closed without an answer", kind: ErrUnreachable},
		{what: "forgets", body: big, hook: func(f *rt.Fake) rt.Hook {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == "PATCH" && n.Add(1) == 4 {
					f.Forget()
				}
				return false
			}
		}, want: "POST PATCH PATCH PATCH PATCH DELETE POST PATCH PATCH PATCH PATCH PATCH PUT"},
		{what: "forgets always", body: big, hook: func(f *rt.Fake) rt.Hook {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == "PATCH" {
					f.Forget()
				}
				return false
			}
		}, err: "nothing can be pushed to it", kind: ErrNotFound},
		{what: "busy", body: big, hook: func(*rt.Fake) rt.Hook { return refuse("PATCH", 2, 503) }},
		{what: "asks to wait", body: big, hook: func(*rt.Fake) rt.Hook { return refuse("PATCH", 2, 429, "Retry-After", "0") }},
		{what: "asks to wait for long", body: big, hook: func(*rt.Fake) rt.Hook { return refuse("POST", 9, 429, "Retry-After", "3600") }, err: "too many requests", kind: ErrRegistry},
		{what: "denied", body: big, hook: func(*rt.Fake) rt.Hook { return refuse("POST", 9, 403) }, err: "push access denied for ", kind: ErrDenied},
		{what: "no such repository", body: big, hook: func(*rt.Fake) rt.Hook { return refuse("POST", 9, 404) }, err: "has no such repository", kind: ErrNotFound},
		{what: "read only", body: big, hook: func(*rt.Fake) rt.Hook { return refuse("POST", 9, 405) }, err: "takes no pushes: some trouble", kind: ErrUnsupported},
		{what: "refuses the end", body: big, hook: func(*rt.Fake) rt.Hook { return refuse("PUT", 9, 400) }, err: "some trouble (HTTP status 400)", kind: ErrRegistry},
		{what: "no place to go", body: big, hook: func(*rt.Fake) rt.Hook {
			return func(w http.ResponseWriter, r *http.Request) bool {
				w.WriteHeader(202)
				return true
			}
		}, err: "does not say where to upload to", kind: ErrRegistry},
	} {
		n.Store(0)
		f := rt.NewFake(t)
		f.SetQuirks(tc.quirks)
		if tc.hook != nil {
			f.SetHook(tc.hook(f))
		}
		c := pushClient(t, Options{})
		var told int64
		d, err := writeTo(t, c, f.Addr+"/app").Upload(context.Background(), rt.Digest(tc.body), content(tc.body), func(n int64) { told = n })
		if tc.err != "" {
			contains(t, err, tc.err)
			if !errors.Is(err, tc.kind) {
				t.Errorf("%s: %v is not %v", tc.what, err, tc.kind)
			}
			if n := f.Forget(); n > 0 {
				t.Errorf("%s: %d uploads are left", tc.what, n)
			}
			continue
		}
		if err != nil || d.Digest != rt.Digest(tc.body) || d.Size != int64(len(tc.body)) || told != d.Size {
			t.Errorf("%s: %+v, %v, told %d", tc.what, d, err, told)
		}
		if got, ok := f.Blob("app", d.Digest); !ok || !bytes.Equal(got, tc.body) {
			t.Errorf("%s: the registry has %d bytes", tc.what, len(got))
		}
		var verbs []string
		for _, s := range f.Seen() {
			verb, _, _ := strings.Cut(s, " ")
			verbs = append(verbs, verb)
		}
		if got := strings.Join(verbs, " "); tc.want != "" && got != tc.want {
			t.Errorf("%s: requests\n%s, want\n%s", tc.what, got, tc.want)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A blob whose digest nobody knows beforehand, and content that fails.
func TestUploadContent(t *testing.T) {
	f := rt.NewFake(t)
	body := []byte(noise(200 << 10))
	dst := writeTo(t, pushClient(t, Options{}), f.Addr+"/app")
	d, err := dst.Upload(context.Background(), "", content(body), func(int64) {})
	if err != nil || d.Digest != rt.Digest(body) || d.Size != int64(len(body)) {
		t.Errorf("%+v, %v", d, err)
	}
	for _, tc := range []struct {
		what    string
		content Content
		want    string
	}{
		{"other content", content(body[1:]), "is damaged: its content has the digest " + rt.Digest(body[1:])},
		{"cannot be opened", func(context.Context) (io.ReadCloser, error) { return nil, os.ErrPermission }, "permission denied"},
		{"breaks off", func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(body[:150<<10]), brokenReader{})), nil
		}, "unexpected EOF"},
	} {
		for _, quirks := range []rt.Quirks{{}, {MinChunk: 1 << 20}} {
			f.SetQuirks(quirks)
			_, err := dst.Upload(context.Background(), rt.Digest(body), tc.content, func(int64) {})
			contains(t, err, tc.want)
			if n := f.Forget(); n > 0 {
				t.Errorf("%s: %d uploads are left", tc.what, n)
			}
		}
	}
}

func TestUploadCancelled(t *testing.T) {
	f := rt.NewFake(t)
	body := []byte(noise(200 << 10))
	ctx, cancel := context.WithCancel(context.Background())
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == "PATCH" {
			cancel()
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			hangUp()
		}
		return false
	})
	start := time.Now()
	_, err := writeTo(t, pushClient(t, Options{}), f.Addr+"/app").Upload(ctx, "", content(body), func(int64) {})
	if !errors.Is(err, context.Canceled) || f.Forget() > 0 || time.Since(start) > 5*time.Second {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
}

// scopes is a token server that gives what is asked for and a gate that lets
// through who may.
func scopes(t *testing.T, f *rt.Fake, lives int) (asked *[]string) {
	t.Helper()
	s := &tokenServer{t: t, lives: lives, issued: map[string]int{}, account: base64.StdEncoding.EncodeToString([]byte("u:p"))}
	byToken := map[string]string{}
	realm := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.issue(w, r)
		s.mu.Lock()
		defer s.mu.Unlock()
		byToken[fmt.Sprintf("token%d", len(s.issued)-1)] = strings.Join(r.URL.Query()["scope"], " ")
	}))
	t.Cleanup(realm.Close)
	gate := s.gate(realm.URL)
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if gate(w, r) {
			return true
		}
		s.mu.Lock()
		scope := byToken[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
		s.mu.Unlock()
		if r.Method != "GET" && r.Method != "HEAD" && !strings.Contains(scope, "repository:app:pull,push") {
			rt.Refuse(w, 403, "DENIED", "requested access to the resource is denied")
			return true
		}
		if from := r.URL.Query().Get("from"); from != "" && !strings.Contains(scope, "repository:"+from+":pull") {
			rt.Refuse(w, 403, "DENIED", "requested access to the resource is denied")
			return true
		}
		return false
	})
	return &s.asked
}

func TestPushScopes(t *testing.T) {
	f := rt.NewFake(t)
	asked := scopes(t, f, 3)
	f.PutBlob("lib", []byte("shared"))
	dir := dockerConfig(t, map[string]any{"auths": map[string]any{f.Addr: basicAuth("u", "p")}})
	dst := writeTo(t, pushClient(t, Options{DockerConfig: dir}), f.Addr+"/app:v1")
	ctx := context.Background()
	if ok, err := dst.Has(ctx, rt.Digest([]byte("shared"))); ok || err != nil {
		t.Errorf("has: %v, %v", ok, err)
	}
	if ok, err := dst.Mount(ctx, rt.Digest([]byte("shared")), "lib"); !ok || err != nil {
		t.Errorf("mount: %v, %v", ok, err)
	}
	if ok, err := dst.Has(ctx, rt.Digest([]byte("shared"))); !ok || err != nil {
		t.Errorf("has: %v, %v", ok, err)
	}
	// Tokens expire in the middle.
	if _, err := dst.Upload(ctx, "", content([]byte(noise(500<<10))), func(int64) {}); err != nil {
		t.Error(err)
	}
	raw := []byte(`{"schemaVersion":2,"layers":[]}`)
	if digest, err := dst.PutManifest(ctx, rt.OCIManifest, raw); err != nil || digest != rt.Digest(raw) {
		t.Errorf("%s, %v", digest, err)
	}
	if kind, got := f.Manifest("app", "v1"); kind != rt.OCIManifest || !bytes.Equal(got, raw) {
		t.Errorf("%s %q", kind, got)
	}
	for _, s := range *asked {
		if s != "repository:app:pull,push" && s != "repository:app:pull,push repository:lib:pull" {
			// FormValue shows the first of several.
			t.Errorf("asked for %q", s)
		}
	}
	if !slices.ContainsFunc(*asked, func(s string) bool { return strings.HasPrefix(s, "repository:app:pull,push") }) {
		t.Errorf("asked for %q", *asked)
	}
	// Who may only read is told so.
	other := writeTo(t, pushClient(t, Options{DockerConfig: dir}), f.Addr+"/other")
	_, err := other.Upload(ctx, "", content([]byte("x")), func(int64) {})
	contains(t, err, "push access denied for "+f.Addr+"/other, repository does not exist or may require 'berth login': requested access to the resource is denied, as u")
}

func TestMount(t *testing.T) {
	f := rt.NewFake(t)
	f.PutBlob("lib", []byte("shared"))
	dst := writeTo(t, pushClient(t, Options{}), f.Addr+"/app")
	ctx := context.Background()
	digest := rt.Digest([]byte("shared"))
	f.SetQuirks(rt.Quirks{NoMount: true})
	if ok, err := dst.Mount(ctx, digest, "lib"); ok || err != nil || f.Forget() != 0 {
		t.Errorf("a registry that does not mount: %v, %v", ok, err)
	}
	f.SetQuirks(rt.Quirks{})
	if ok, err := dst.Mount(ctx, digest, "nowhere"); ok || err != nil || f.Forget() != 0 {
		t.Errorf("from nowhere: %v, %v", ok, err)
	}
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(405); return true })
	if ok, err := dst.Mount(ctx, digest, "lib"); ok || err != nil {
		t.Errorf("a registry that knows no mounts: %v, %v", ok, err)
	}
}

// Uploads that a registry wants elsewhere get no authorization there; a
// registry that believes to speak plain HTTP is not believed.
func TestUploadElsewhere(t *testing.T) {
	var stored []byte
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v := r.Header.Get("Authorization"); v != "" {
			t.Errorf("the storage was sent %s", v)
		}
		stored = rt.Must(io.ReadAll(r.Body))
		w.WriteHeader(201)
	}))
	t.Cleanup(storage.Close)
	f := rt.NewFake(t)
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return true
		}
		w.Header().Set("Location", storage.URL+"/up?signature=s")
		w.WriteHeader(202)
		return true
	})
	dir := dockerConfig(t, map[string]any{"auths": map[string]any{f.Addr: basicAuth("u", "p")}})
	if _, err := writeTo(t, pushClient(t, Options{DockerConfig: dir}), f.Addr+"/app").Upload(context.Background(), "", content([]byte("x")), func(int64) {}); err != nil || string(stored) != "x" {
		t.Errorf("%q, %v", stored, err)
	}

	secure := httptest.NewUnstartedServer(rt.NewFake(t))
	fake := secure.Config.Handler.(*rt.Fake)
	fake.SetQuirks(rt.Quirks{PlainHTTP: true})
	secure.StartTLS()
	t.Cleanup(secure.Close)
	addr := strings.TrimPrefix(secure.URL, "https://")
	if _, err := writeTo(t, pushClient(t, Options{}), addr+"/app").Upload(context.Background(), "", content([]byte(noise(200<<10))), func(int64) {}); err != nil {
		t.Error(err)
	}
}

func TestReceived(t *testing.T) {
	for in, want := range map[string]int64{"0-99": 100, "bytes=0-99": 100, "0-0": 0, "0-1": 2, "": -1, "5-9": -1, "0--1": -1, "0-x": -1, "99": -1} {
		n, ok := received(in)
		if ok != (want >= 0) || ok && n != want {
			t.Errorf("%q: %d, %v", in, n, ok)
		}
	}
}

// Mirrors are for reading.
func TestTargetIsNoMirror(t *testing.T) {
	mirror, origin := rt.NewFake(t), rt.NewFake(t)
	c := pushClient(t, Options{Mirrors: map[string][]string{origin.Addr: {mirror.URL}}})
	if _, err := writeTo(t, c, origin.Addr+"/app").Upload(context.Background(), "", content([]byte("x")), func(int64) {}); err != nil {
		t.Error(err)
	}
	if s := mirror.Seen(); len(s) > 0 {
		t.Errorf("the mirror was asked %q", s)
	}
	if _, err := c.Target(ref.Ref{Domain: origin.Addr}); err != nil {
		t.Error(err)
	}
}
