package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	rt "berth/internal/registry/registrytest"
)

// hangUp ends the connection without a proper end of the answer.
func hangUp() { panic(http.ErrAbortHandler) }

// onBlob hooks into requests for layers.
func onBlob(f *rt.Fake, hook func(w http.ResponseWriter, r *http.Request) bool) {
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/blobs/") && hook(w, r)
	})
}

func TestBlobTrouble(t *testing.T) {
	f := rt.NewFake(t)
	body := []byte(noise(1 << 20))
	d := Descriptor{Digest: rt.Digest(body), Size: int64(len(body))}
	f.SetBlob(d.Digest, body)
	r := mustRef(t, f.Addr+"/app")
	var n atomic.Int32
	part := func(w http.ResponseWriter, b []byte) { // some of an answer, then silence
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.Write(b)
		w.(http.Flusher).Flush()
	}
	var ranges atomic.Int32
	for _, tc := range []struct {
		what string
		hook func(w http.ResponseWriter, r *http.Request) bool
		want string // empty: it ends well
		kind error
	}{
		{"well-behaved", func(http.ResponseWriter, *http.Request) bool { return false }, "", nil},
		{"drops the connection twice, can resume", func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Range") != "" {
				ranges.Add(1)
			}
			if n.Add(1) <= 2 {
				cw := &cutWriter{ResponseWriter: w, left: 300 << 10}
				f.Serve(cw, r)
				hangUp()
			}
			return false
		}, "", nil},
		{"drops, and ignores Range", func(w http.ResponseWriter, r *http.Request) bool {
			r.Header.Del("Range")
			if n.Add(1) <= 2 {
				part(w, body[:500<<10])
				hangUp()
			}
			return false
		}, "", nil},
		{"drops always, with progress", func(w http.ResponseWriter, r *http.Request) bool {
			f.Serve(&cutWriter{ResponseWriter: w, left: 280 << 10}, r)
			hangUp()
			return true
		}, "", nil},
		{"drops always, without progress", func(w http.ResponseWriter, r *http.Request) bool {
			f.Serve(&cutWriter{ResponseWriter: w, left: 100}, r)
			hangUp()
			return true
		}, "the connection broke (tried 4 times)", ErrUnreachable},
		{"goes silent once", func(w http.ResponseWriter, r *http.Request) bool {
			if n.Add(1) == 1 {
				part(w, body[:1000])
				<-r.Context().Done()
				return true
			}
			return false
		}, "", nil},
		{"answers another range", func(w http.ResponseWriter, r *http.Request) bool {
			if n.Add(1) == 1 {
				part(w, body[:1000])
				hangUp()
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 7-%d/%d", len(body)-1, len(body)))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(body[7:])
			return true
		}, "another part", ErrRegistry},
		{"truncated, and says so", func(w http.ResponseWriter, r *http.Request) bool {
			w.Write(body[:1000])
			return true
		}, "has 1000 bytes, its manifest says 1048576", ErrDigest},
		{"truncated, chunked", func(w http.ResponseWriter, r *http.Request) bool {
			w.(http.Flusher).Flush()
			w.Write(body[:1000])
			return true
		}, "ends after 1000 bytes", ErrDigest},
		{"too long, chunked", func(w http.ResponseWriter, r *http.Request) bool {
			w.(http.Flusher).Flush()
			w.Write(append(body[:len(body):len(body)], 'x'))
			return true
		}, "is longer than the 1048576 bytes", ErrDigest},
		{"corrupt", func(w http.ResponseWriter, r *http.Request) bool {
			b := append([]byte{}, body...)
			b[5000] ^= 1
			w.Write(b)
			return true
		}, "is damaged", ErrDigest},
		{"429 twice with a short wait", func(w http.ResponseWriter, r *http.Request) bool {
			if n.Add(1) <= 2 {
				w.Header().Set("Retry-After", "0")
				rt.Refuse(w, 429, "TOOMANYREQUESTS", "slow down")
				return true
			}
			return false
		}, "", nil},
		{"429 with a long wait", func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Retry-After", "3600")
			rt.Refuse(w, 429, "TOOMANYREQUESTS", "You have reached your pull rate limit")
			return true
		}, "has had too many requests from here: You have reached your pull rate limit (it asks to wait 1h0m0s)", ErrRegistry},
		{"503 twice", func(w http.ResponseWriter, r *http.Request) bool {
			if n.Add(1) <= 2 {
				w.WriteHeader(503)
				return true
			}
			return false
		}, "", nil},
		{"500 always", func(w http.ResponseWriter, r *http.Request) bool {
			http.Error(w, "disk\nfull", 500)
			return true
		}, "disk full (HTTP status 500)", ErrRegistry},
		{"gone", func(w http.ResponseWriter, r *http.Request) bool {
			rt.Refuse(w, 404, "BLOB_UNKNOWN", "blob unknown")
			return true
		}, "has lost it", ErrNotFound},
		{"forbidden", func(w http.ResponseWriter, r *http.Request) bool {
			rt.Refuse(w, 403, "DENIED", "requested access to the resource is denied")
			return true
		}, "pull access denied for " + f.Addr + "/app, repository does not exist or may require 'berth login': requested access to the resource is denied", ErrDenied},
		{"never answers", func(w http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return true
		}, "no answer", ErrUnreachable},
		{"redirects in a circle", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}, "circle", ErrUnreachable},
	} {
		n.Store(0)
		onBlob(f, tc.hook)
		got, err := readBlob(newClient(t, Options{}), r, d)
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
	if n := ranges.Load(); n != 2 {
		t.Errorf("resuming asked for a range %d times, want 2", n)
	}
}

// cutWriter loses what exceeds a budget.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (c *cutWriter) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	c.ResponseWriter.Write(p[:n])
	c.ResponseWriter.(http.Flusher).Flush()
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

func TestBlobMovesToNextEndpoint(t *testing.T) {
	mirror, origin := rt.NewFake(t), rt.NewFake(t)
	body := []byte(noise(600 << 10))
	d := Descriptor{Digest: rt.Digest(body), Size: int64(len(body))}
	origin.SetBlob(d.Digest, body)
	onBlob(mirror, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Range") == "" {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.Write(body[:400<<10])
		}
		hangUp()
		return true
	})
	var asked string
	onBlob(origin, func(w http.ResponseWriter, r *http.Request) bool {
		asked = r.Header.Get("Range")
		return false
	})
	c := newClient(t, Options{Mirrors: map[string][]string{origin.Addr: {mirror.URL}}})
	got, err := readBlob(c, mustRef(t, origin.Addr+"/app"), d)
	if err != nil || string(got) != string(body) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if !strings.HasPrefix(asked, "bytes=") || asked == "bytes=0-" {
		t.Errorf("the registry was asked for %q, want the rest only", asked)
	}
}

// A registry that is restarted in the middle of a layer is waited for; one
// that stays away is not waited for very long.
func TestBlobOutage(t *testing.T) {
	s := rt.Start(t, rt.Options{})
	img := rt.Build(t, "linux/amd64", false, rt.Layer{Tar: rt.Tar(t, rt.File{Name: "a", Body: noise(20 << 20)})})
	s.Push(t, "app", "latest", img)
	r := mustRef(t, s.Addr+"/app")
	d := Descriptor{Digest: img.Layers[0].Digest, Size: img.Layers[0].Size}
	for _, comesBack := range []bool{true, false} {
		c := newClient(t, Options{})
		if comesBack {
			c.patience.outage = time.Minute
		}
		b, err := c.Blob(context.Background(), r, d)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if _, err := io.CopyN(io.Discard, b, 1<<20); err != nil {
			t.Fatal(err)
		}
		s.Stop()
		back := make(chan bool)
		if comesBack {
			go func() {
				defer close(back)
				time.Sleep(100 * time.Millisecond)
				s.Restart(t)
			}()
		}
		n, err := io.Copy(io.Discard, b)
		if comesBack {
			if err != nil || n != d.Size-1<<20 {
				t.Errorf("after a restart: %d bytes, %v", n, err)
			}
			<-back
			continue
		}
		contains(t, err, "cannot reach registry "+s.Addr+": connection refused")
	}
}

func TestBlobCancelled(t *testing.T) {
	f := rt.NewFake(t)
	body := []byte(noise(1 << 20))
	d := Descriptor{Digest: rt.Digest(body), Size: int64(len(body))}
	onBlob(f, func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.Write(body[:1000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	})
	ctx, cancel := context.WithCancel(context.Background())
	c := newClient(t, Options{})
	c.patience.idle = time.Minute
	b, err := c.Blob(ctx, mustRef(t, f.Addr+"/app"), d)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	if _, err := io.ReadAll(b); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("cancelling took %v", d)
	}
}

func TestEmptyBlob(t *testing.T) {
	c := newClient(t, Options{})
	got, err := readBlob(c, mustRef(t, "127.0.0.1:1/app"), Descriptor{Digest: rt.Digest(nil)})
	if err != nil || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
	_, err = readBlob(c, mustRef(t, "127.0.0.1:1/app"), Descriptor{Digest: rt.Digest([]byte("x"))})
	if !errors.Is(err, ErrDigest) {
		t.Errorf("got %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	c := newClient(t, Options{})
	c.patience.header = 200 * time.Millisecond
	silent := rt.NewFake(t)
	silent.SetHook(func(w http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
	slam := rt.NewFake(t)
	slam.SetHook(func(w http.ResponseWriter, r *http.Request) bool { hangUp(); return true })
	c.route(map[string]string{"index.docker.io:443": "no-such-host.invalid:443"})
	for addr, want := range map[string]string{
		rt.FreeAddr(t):         "connection refused: is a registry running there?",
		silent.Addr:            "no answer",
		slam.Addr:              "closed without an answer",
		"unknown.example:1":    "cannot ",
		"registry.example:443": "cannot ",
		"[::1]:1":              "cannot reach registry [::1]:1",
	} {
		_, err := fetch(c, mustRef(t, addr+"/app"), "")
		contains(t, err, want)
		if !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v is not ErrUnreachable", addr, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"5": 5 * time.Second, " 7 ": 7 * time.Second, "Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second,
		"Fri, 02 Jan 2026 03:04:00 GMT": 0, "": -1, "soon": -1, "-3": -1,
	} {
		d, ok := retryAfter(in, now)
		if ok != (want >= 0) || ok && d != want {
			t.Errorf("%q: %v, %v", in, d, ok)
		}
	}
}
