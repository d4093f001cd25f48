package foreign

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "other")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	named := map[string]Named{"mine": {Path: program, Args: []string{"--x"}}, "gone": {Path: "/none"}}
	for _, c := range []struct {
		name, path string
		args       []string
	}{
		{name: "other", path: program},
		{name: program, path: program},
		{name: "mine", path: program, args: []string{"--x"}},
		{name: "gone"}, {name: "nothing"}, {name: plain}, {name: dir},
	} {
		path, args, err := Find(c.name, named)
		if path != c.path || !slices.Equal(args, c.args) {
			t.Errorf("%s: %q %q, want %q %q", c.name, path, args, c.path, c.args)
		}
		if (err == nil) != (c.path != "") || err != nil && !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s: error %v", c.name, err)
		}
	}
}
