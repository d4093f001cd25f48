package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLower(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "containers", "c")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	layers := filepath.Join(filepath.Dir(filepath.Dir(dir)), "layers")
	var trees []string
	for i := range maxLayers {
		trees = append(trees, fmt.Sprintf("%s/%064d/tree", layers, i))
	}
	for _, c := range []struct {
		name  string
		trees []string
		links bool
	}{
		{"few", trees[:20], false},
		{"many", trees, true},
		{"others in their place", trees[1:200], true},
		{"a colon", []string{"/srv/a:b/tree"}, true},
		{"a comma", []string{"/srv/a,b/tree"}, true},
	} {
		names, err := lower(dir, c.trees)
		if err != nil || len(names) != len(c.trees) {
			t.Fatalf("%s: %d names, %v", c.name, len(names), err)
		}
		if n := len(strings.Join(names, ":")); n > lowerSpace {
			t.Errorf("%s: %d bytes", c.name, n)
		}
		for i, name := range names {
			if got := strings.HasPrefix(name, "l/"); got != c.links || strings.ContainsAny(name, ",:") {
				t.Fatalf("%s: name %q", c.name, name)
			}
			at := filepath.Join(dir, name)
			if to, err := os.Readlink(at); err == nil {
				at = to
			}
			if at != c.trees[i] {
				t.Errorf("%s: %s leads to %s, want %s", c.name, name, at, c.trees[i])
			}
		}
	}
}
