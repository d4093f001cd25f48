package lab

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// TestProxy: the proxy is as slow as it is told to be, hands ranges on or
// hides them, and counts.
func TestProxy(t *testing.T) {
	const size = 1 << 20
	body := strings.Repeat("0123456789abcdef", size/16)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(body))
	}))
	defer up.Close()
	upstream := strings.TrimPrefix(up.URL, "http://")
	far := StartProxy(t, Far{Upstream: upstream, Delay: 50 * time.Millisecond, Rate: 4 << 20})
	whole := StartProxy(t, Far{Upstream: upstream, IgnoreRange: true})

	get := func(p *Proxy, limit int64) (int, int, time.Duration) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, "http://"+p.Addr+"/v2/x/blobs/sha256:1", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Range", "bytes=1000-524287")
		start := time.Now()
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(io.LimitReader(resp.Body, limit))
		if err != nil {
			t.Error(err)
		}
		return resp.StatusCode, len(b), time.Since(start)
	}
	const part = 524288 - 1000
	if code, n, took := get(far, size); code != 206 || n != part || took < 100*time.Millisecond {
		t.Errorf("far: code %d, %d bytes after %v", code, n, took)
	}
	if code, n, _ := get(whole, size); code != 200 || n != size {
		t.Errorf("ranges ignored: code %d, %d bytes", code, n)
	}
	// A client that leaves in the middle.
	get(far, 1000)
	got := far.Settled(t)
	if got.Connections < 1 || got.Requests != 2 || got.Most != 1 || got.Longest != part ||
		got.Unfinished <= 0 || got.Unfinished >= part || got.Bytes() != part+got.Unfinished {
		t.Errorf("traffic: %+v", got)
	}
	text, err := Get("http://"+far.Addr+"/traffic", Patience)
	var told Traffic
	if err == nil {
		err = json.Unmarshal([]byte(text), &told)
	}
	if err != nil || told.Requests != 2 {
		t.Errorf("/traffic: %s, %v", text, err)
	}
}

// TestTricks: each trick of the tricky registry does what it says to a blob,
// whole and in ranges.
func TestTricks(t *testing.T) {
	layer := "\x1f\x8b" + strings.Repeat("0123456789", 1000)
	size := len(layer)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(layer))
	}))
	defer up.Close()
	p := startTricky(t, strings.TrimPrefix(up.URL, "http://"))
	get := func(trick, rng string) (code int, body string, header http.Header, err error) {
		req, err := http.NewRequest(http.MethodGet, "http://"+p+"/v2/"+trick+"/r/blobs/sha256:"+t.Name(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if rng != "" {
			req.Header.Set("Range", rng)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, "", nil, err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b), resp.Header, err
	}
	for _, c := range []struct {
		trick, rng string
		code, n    int
		broken     bool   // the answer does not reach its end
		says       string // Content-Range
		good       bool   // the bytes are those that were asked for
	}{
		{"fine", "", 200, size, false, "", true},
		{"fine", "bytes=5-14", 206, 10, false, "bytes 5-14/10002", true},
		{"flip", "bytes=5-14", 206, 10, false, "bytes 5-14/10002", false},
		{"flip-once", "bytes=5-14", 206, 10, false, "bytes 5-14/10002", false},
		{"flip-once", "bytes=5-14", 206, 10, false, "bytes 5-14/10002", true},
		{"cut", "", 200, size / 2, true, "", true},
		{"cut", "bytes=8000-", 206, 0, true, "bytes 8000-10001/10002", true},
		{"cut-once", "bytes=5-14", 206, 5, true, "bytes 5-14/10002", true},
		{"cut-once", "bytes=5-14", 206, 10, false, "bytes 5-14/10002", true},
		{"reset-10", "bytes=5-14", 206, 5, true, "bytes 5-14/10002", true},
		{"reset-10", "bytes=5-14", 206, 5, true, "bytes 5-14/10002", true},
		{"reset-10", "bytes=5-14", 206, 10, false, "bytes 5-14/10002", true},
		{"short", "bytes=9995-", 206, 6, false, "bytes 9995-10000/10001", true},
		{"long", "bytes=5-14", 206, 18, false, "bytes 5-14/10002", false},
		{"length", "bytes=5-14", 206, 10, true, "bytes 5-14/10002", true},
		{"burst", "", 503, 11, false, "", false},
		{"html-blob", "", 200, 44, false, "", false},
		{"gone", "", 404, 74, false, "", false},
		{"gone-late", "", 200, size, false, "", true},
		{"gone-late", "", 404, 74, false, "", false},
		{"refused-late", "", 200, size, false, "", true},
		{"refused-late", "", 403, 86, false, "", false},
		{"expire", "", 401, 71, false, "", false},
		{"norange", "bytes=5-14", 200, size, false, "", false},
		{"norange-late", "bytes=5-14", 206, 10, false, "bytes 5-14/10002", true},
		{"norange-late", "bytes=5-14", 200, size, false, "", false},
		{"norange-416", "bytes=5-14", 416, 0, false, "", true},
		{"norange-bare", "bytes=5-14", 206, 10, false, "", true},
		{"range-other", "bytes=5-14", 206, 9, false, "bytes 6-14/10002", false},
		{"range-lies", "bytes=5-14", 206, 9, false, "bytes 5-13/10002", false},
		{"range-total", "bytes=5-14", 206, 10, false, "bytes 5-14/11002", true},
		{"range-cap-4", "bytes=5-14", 206, 4, false, "bytes 5-8/10002", true},
	} {
		code, body, header, err := get(c.trick, c.rng)
		if os.IsTimeout(err) || code != c.code || len(body) != c.n || (err != nil) != c.broken || header.Get("Content-Range") != c.says {
			t.Errorf("%s %s: code %d, %d bytes, %q, %v; want %+v", c.trick, c.rng, code, len(body), header.Get("Content-Range"), err, c)
			continue
		}
		from := 0
		if c.rng != "" {
			from = 5
			if strings.Contains(c.rng, "8000") {
				from = 8000
			} else if strings.Contains(c.rng, "9995") {
				from = 9995
			}
		}
		if good := strings.HasPrefix(layer[from:], body); good != c.good {
			t.Errorf("%s %s: the bytes are right: %v, want %v", c.trick, c.rng, good, c.good)
		}
	}
	if _, _, _, err := get("loop", ""); err == nil || !strings.Contains(err.Error(), "redirects") {
		t.Errorf("loop: %v", err)
	}
}
