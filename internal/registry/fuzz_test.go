package registry

import (
	"strings"
	"testing"
	"time"

	"berth/internal/registry/ref"
)

// FuzzConfig: an image's configuration is somebody else's.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"os":"linux","architecture":"arm64","rootfs":{"diff_ids":["sha256:x"]}}`), 1)
	f.Add([]byte(`{}`), 0)
	f.Fuzz(func(t *testing.T, raw []byte, layers int) {
		c, err := parseConfig(raw, layers)
		if err != nil {
			return
		}
		if len(c.RootFS.DiffIDs) != layers {
			t.Fatalf("%d layers, want %d", len(c.RootFS.DiffIDs), layers)
		}
		for _, id := range c.RootFS.DiffIDs {
			if ref.CheckDigest(id) != nil {
				t.Fatalf("%q passes for a digest", id)
			}
		}
		c.platform()
	})
}

// FuzzHeaders: what an answer says of itself.
func FuzzHeaders(f *testing.F) {
	for _, s := range []string{"bytes 5-9/10", "0-99", "bytes=0-0", `</v2/x/tags/list?last=b&n=2>; rel="next"`, "Fri, 02 Jan 2026 03:04:15 GMT", "120"} {
		f.Add(s)
	}
	now := time.Unix(1767323045, 0)
	f.Fuzz(func(t *testing.T, s string) {
		first, last, total := contentRange(s)
		if first < -1 || last < -1 || total < -1 {
			t.Fatalf("%q: %d-%d/%d", s, first, last, total)
		}
		if n, ok := received(s); ok && n < 0 {
			t.Fatalf("%q: %d bytes received", s, n)
		}
		if d, ok := retryAfter(s, now); ok && d < 0 {
			t.Fatalf("%q: wait %v", s, d)
		}
		nextPage(s)
		if line := oneLine(s); strings.ContainsAny(line, "\n\r\t\x1b") || len(line) > 310 {
			t.Fatalf("%q is no line", line)
		}
	})
}
