package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rt "berth/internal/registry/registrytest"
)

// pieces reads a blob by ranges of the given size, as often as Transient says
// that it is worth it.
func pieces(g *Ranges, d Descriptor, size int64, tries int) ([]byte, error) {
	var out []byte
	for off := int64(0); off < d.Size; {
		n := min(size, d.Size-off)
		body, whole, err := g.Range(context.Background(), off, n)
		var b []byte
		if err == nil {
			b, err = io.ReadAll(body)
			body.Close()
			if whole {
				b = b[min(off, int64(len(b))):]
			}
			out, off = append(out, b...), off+int64(len(b))
		}
		if err != nil {
			if _, again := g.Transient(err); !again || tries == 0 {
				return out, err
			}
			tries--
		}
	}
	return out, nil
}

func TestRanges(t *testing.T) {
	f := rt.NewFake(t)
	body := []byte(noise(1 << 20))
	d := Descriptor{Digest: rt.Digest(body), Size: int64(len(body))}
	f.SetBlob(d.Digest, body)
	r := mustRef(t, f.Addr+"/app")
	var n atomic.Int32
	partial := func(w http.ResponseWriter, span string, b []byte) bool {
		w.Header().Set("Content-Range", "bytes "+span)
		w.WriteHeader(http.StatusPartialContent)
		w.Write(b)
		return true
	}
	refuse := func(code int, wait string) rt.Hook {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if n.Add(1) > 2 && wait != "3600" {
				return false
			}
			if wait != "" {
				w.Header().Set("Retry-After", wait)
			}
			w.WriteHeader(code)
			return true
		}
	}
	for _, tc := range []struct {
		what string
		hook rt.Hook
		want string // empty: it ends well
		kind error
	}{
		{"well-behaved", nil, "", nil},
		{"ignores ranges", func(w http.ResponseWriter, r *http.Request) bool { r.Header.Del("Range"); return false }, "", nil},
		{"breaks twice", func(w http.ResponseWriter, r *http.Request) bool {
			if n.Add(1) <= 2 {
				f.Serve(&cutWriter{ResponseWriter: w, left: 1000}, r)
				hangUp()
			}
			return false
		}, "", nil},
		{"slams twice", func(w http.ResponseWriter, r *http.Request) bool {
			if n.Add(1) <= 2 {
				hangUp()
			}
			return false
		}, "", nil},
		{"goes silent once", func(w http.ResponseWriter, r *http.Request) bool {
			if n.Add(1) == 1 {
				f.Serve(&cutWriter{ResponseWriter: w, left: 1000}, r)
				<-r.Context().Done()
				return true
			}
			return false
		}, "", nil},
		{"busy twice", refuse(503, ""), "", nil},
		{"too many twice", refuse(429, "0"), "", nil},
		{"too many for long", refuse(429, "3600"), "use 'berth login " + f.Addr + "', or try again later", ErrRegistry},
		{"another part", func(w http.ResponseWriter, r *http.Request) bool {
			return partial(w, fmt.Sprintf("1-300001/%d", d.Size), body[1:300001])
		}, "sends another part", ErrRegistry},
		{"a shorter part", func(w http.ResponseWriter, r *http.Request) bool {
			return partial(w, fmt.Sprintf("0-9/%d", d.Size), body[:10])
		}, "sends another part", ErrRegistry},
		{"a part of an unknown kind", func(w http.ResponseWriter, r *http.Request) bool { return partial(w, "", body[:10]) }, "sends another part", ErrRegistry},
		{"a part of something else", func(w http.ResponseWriter, r *http.Request) bool { return partial(w, "0-299999/300000", body[:300000]) }, "has 300000 bytes, its manifest says 1048576", ErrDigest},
		{"a part with another length", func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Length", "10")
			return partial(w, fmt.Sprintf("0-299999/%d", d.Size), body[:10])
		}, "sends another part", ErrRegistry},
		{"shorter", func(w http.ResponseWriter, r *http.Request) bool { w.Write(body[:1000]); return true }, "has 1000 bytes", ErrDigest},
		{"shorter, no length", func(w http.ResponseWriter, r *http.Request) bool {
			w.(http.Flusher).Flush()
			w.Write(body[:1000])
			return true
		}, "the connection broke", ErrUnreachable},
		{"longer, no length", func(w http.ResponseWriter, r *http.Request) bool {
			w.(http.Flusher).Flush()
			w.Write(append(body[:len(body):len(body)], 'x'))
			return true
		}, "is longer than", ErrDigest},
		{"range beyond the end", func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(416); return true }, "is shorter than", ErrDigest},
		{"gone", func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(404); return true }, "has lost it", ErrNotFound},
		{"forbidden", func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(403); return true }, "pull access denied", ErrDenied},
		{"circle", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, r.URL.Path, 307)
			return true
		}, "circle", ErrUnreachable},
	} {
		n.Store(0)
		onBlob(f, func(w http.ResponseWriter, r *http.Request) bool { return tc.hook != nil && tc.hook(w, r) })
		g, err := newClient(t, Options{}).Ranges(r, d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pieces(g, d, 300000, 3)
		if tc.want == "" {
			if err != nil || string(got) != string(body) {
				t.Errorf("%s: %d bytes, %v", tc.what, len(got), err)
			}
			continue
		}
		if !errors.Is(err, tc.kind) {
			t.Errorf("%s: %v is not %v", tc.what, err, tc.kind)
		}
		contains(t, err, tc.want)
	}
}

func TestRangesRefuse(t *testing.T) {
	c := newClient(t, Options{})
	r := mustRef(t, "127.0.0.1:1/app")
	if _, err := c.Ranges(r, Descriptor{Digest: "sha256:../..", Size: 1}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	g, err := c.Ranges(r, Descriptor{Digest: rt.Digest(nil), Size: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, span := range [][2]int64{{-1, 1}, {0, 0}, {0, 11}, {10, 1}, {5, 1<<63 - 1}} {
		if _, _, err := g.Range(context.Background(), span[0], span[1]); err == nil {
			t.Errorf("bytes %v: no error", span)
		}
	}
}

func TestTransient(t *testing.T) {
	c := newClient(t, Options{})
	c.patience.outage = time.Minute
	g := &Ranges{client: c}
	ep := c.origin("registry.example")
	at := func(code int, header string) error {
		se := &statusError{code: code}
		se.wait, se.waited = retryAfter(header, time.Now())
		return fail(ErrRegistry, se, "x")
	}
	for _, tc := range []struct {
		err  error
		wait time.Duration
		ok   bool
	}{
		{nil, 0, false},
		{context.Canceled, 0, false},
		{errors.New("disk full"), 0, false},
		{at(429, "7"), 7 * time.Second, true},
		{at(429, ""), 0, true},
		{at(503, time.Now().Add(20*time.Second).UTC().Format(http.TimeFormat)), 20 * time.Second, true},
		{at(429, "61"), 61 * time.Second, false},
		{at(500, ""), 0, true}, {at(502, ""), 0, true}, {at(504, ""), 0, true}, {at(408, ""), 0, true},
		{at(404, ""), 0, false}, {at(403, ""), 0, false}, {at(401, ""), 0, false}, {at(501, ""), 0, false},
		{ep.explain(errSilent), 0, true},
		{ep.explain(io.ErrUnexpectedEOF), 0, true},
		{ep.explain(errors.New("x509: nonsense")), 0, false},
		{fail(ErrDigest, nil, "x"), 0, false},
	} {
		wait, ok := g.Transient(tc.err)
		if ok != tc.ok || (wait-tc.wait).Abs() > 2*time.Second {
			t.Errorf("%v: %v, %v", tc.err, wait, ok)
		}
	}
}

// A storage elsewhere is remembered, never sees the registry's authorization,
// and is asked for anew when its address has expired.
func TestRangesByStorage(t *testing.T) {
	body := []byte(noise(1 << 20))
	d := Descriptor{Digest: rt.Digest(body), Size: int64(len(body))}
	var signature, stored, asked, broken atomic.Int32
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, h := range []string{"Authorization", "Referer", "Cookie"} {
			if v := r.Header.Get(h); v != "" {
				t.Errorf("the storage was sent %s: %s", h, v)
			}
		}
		stored.Add(1)
		if r.URL.Query().Get("signature") != fmt.Sprint(signature.Load()) {
			w.WriteHeader(403)
			return
		}
		if broken.Load() > 0 {
			broken.Add(-1)
			w.Header().Set("Content-Length", fmt.Sprint(d.Size))
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			hangUp()
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(body)))
	}))
	t.Cleanup(storage.Close)
	f := rt.NewFake(t)
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return true
		}
		asked.Add(1)
		http.Redirect(w, r, fmt.Sprintf("%s/x?signature=%d", storage.URL, signature.Load()), http.StatusTemporaryRedirect)
		return true
	})
	dir := dockerConfig(t, map[string]any{"auths": map[string]any{f.Addr: basicAuth("u", "p")}})
	g, err := newClient(t, Options{DockerConfig: dir}).Ranges(mustRef(t, f.Addr+"/app"), d)
	if err != nil {
		t.Fatal(err)
	}
	read := func(what string, wantAsked, wantStored int32) {
		t.Helper()
		asked.Store(0)
		stored.Store(0)
		got, err := pieces(g, d, 1<<18, 1)
		if err != nil || string(got) != string(body) {
			t.Errorf("%s: %d bytes, %v", what, len(got), err)
		}
		if asked.Load() != wantAsked || stored.Load() != wantStored {
			t.Errorf("%s: registry asked %d times, storage %d", what, asked.Load(), stored.Load())
		}
	}
	read("first", 1, 4)
	read("again", 0, 4)
	signature.Add(1)
	read("expired", 1, 5)
	broken.Store(1)
	read("broken", 1, 5)
	// Where even a fresh address is refused, it is the storage's fault.
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, storage.URL+"/x?signature=old", http.StatusTemporaryRedirect)
		return true
	})
	signature.Add(1)
	_, err = pieces(g, d, 1<<18, 0)
	contains(t, err, "to which registry "+f.Addr+" sends for content", "forbidden")
	if strings.Contains(err.Error(), "signature") || errors.Is(err, ErrDenied) {
		t.Errorf("%q shows a signed address or blames the account", err)
	}
}

// Pieces that are fetched at once all get their turn with a new token.
func TestRangesTokensExpire(t *testing.T) {
	f := rt.NewFake(t)
	body := []byte(noise(1 << 20))
	d := Descriptor{Digest: rt.Digest(body), Size: int64(len(body))}
	f.SetBlob(d.Digest, body)
	s := &tokenServer{t: t, lives: 4, issued: map[string]int{}, account: base64.StdEncoding.EncodeToString([]byte("u:p"))}
	realm := httptest.NewServer(http.HandlerFunc(s.issue))
	t.Cleanup(realm.Close)
	f.SetHook(s.gate(realm.URL))
	dir := dockerConfig(t, map[string]any{"auths": map[string]any{f.Addr: basicAuth("u", "p")}})
	g, err := newClient(t, Options{DockerConfig: dir}).Ranges(mustRef(t, f.Addr+"/app"), d)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range int64(4) {
		wg.Go(func() {
			for off := i << 18; off < (i+1)<<18; off += 1 << 16 {
				body, whole, err := g.Range(context.Background(), off, 1<<16)
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(body)
				body.Close()
				if err != nil || whole || rt.Digest(b) != rt.Digest([]byte(noise(1 << 20))[off:off+1<<16]) {
					t.Errorf("at %d: %d bytes, %v", off, len(b), err)
				}
			}
		})
	}
	wg.Wait()
}

// A mirror that lacks the blob, or breaks off again and again, is left for the
// registry; the first is not asked again.
func TestRangesMoveOn(t *testing.T) {
	body := []byte(noise(1 << 20))
	d := Descriptor{Digest: rt.Digest(body), Size: int64(len(body))}
	for what, hook := range map[string]rt.Hook{
		"lacks it": func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(404); return true },
		"slams":    func(w http.ResponseWriter, r *http.Request) bool { hangUp(); return true },
		"breaks off": func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", 1<<18-1, d.Size))
			w.Header().Set("Content-Length", fmt.Sprint(1<<18))
			w.WriteHeader(206)
			w.(http.Flusher).Flush()
			hangUp()
			return true
		},
		"wrong length": func(w http.ResponseWriter, r *http.Request) bool { w.Write(body[:10]); return true },
	} {
		mirror, origin := rt.NewFake(t), rt.NewFake(t)
		origin.SetBlob(d.Digest, body)
		mirror.SetHook(hook)
		c := newClient(t, Options{Mirrors: map[string][]string{origin.Addr: {mirror.URL}}})
		g, err := c.Ranges(mustRef(t, origin.Addr+"/app"), d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pieces(g, d, 1<<18, c.patience.tries)
		if err != nil || string(got) != string(body) {
			t.Errorf("%s: %d bytes, %v", what, len(got), err)
		}
		if n := len(mirror.Seen()); n > c.patience.tries {
			t.Errorf("%s: the mirror was asked %d times", what, n)
		}
	}
	// Where both fail, the error tells of both.
	mirror, origin := rt.NewFake(t), rt.NewFake(t)
	c := newClient(t, Options{Mirrors: map[string][]string{origin.Addr: {mirror.URL}}})
	g, err := c.Ranges(mustRef(t, origin.Addr+"/app"), d)
	if err != nil {
		t.Fatal(err)
	}
	_, err = pieces(g, d, d.Size, 0)
	contains(t, err, "registry "+origin.Addr+" has lost it", "before that: blob", "mirror "+mirror.Addr+" has lost it")
}

func TestRangesCancelled(t *testing.T) {
	f := rt.NewFake(t)
	d := Descriptor{Digest: rt.Digest([]byte("x")), Size: 1 << 20}
	got := make(chan bool, 1)
	onBlob(f, func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Length", fmt.Sprint(d.Size))
		w.Write(make([]byte, 1000))
		w.(http.Flusher).Flush()
		got <- true
		<-r.Context().Done()
		return true
	})
	ctx, cancel := context.WithCancel(context.Background())
	c := newClient(t, Options{})
	c.patience.idle = time.Minute
	g, err := c.Ranges(mustRef(t, f.Addr+"/app"), d)
	if err != nil {
		t.Fatal(err)
	}
	body, _, err := g.Range(ctx, 0, d.Size)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	<-got
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = io.ReadAll(body)
	if _, again := g.Transient(err); !errors.Is(err, context.Canceled) || again {
		t.Errorf("got %v", err)
	}
}
