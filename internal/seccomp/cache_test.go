package seccomp

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestCache(t *testing.T) {
	c := Cache{Dir: filepath.Join(t.TempDir(), "seccomp")}
	profile := func(n int) string {
		return fmt.Sprintf(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": %d}]}`, n)
	}
	get := func(p string) []byte {
		t.Helper()
		b, err := c.Program(p, "amd64", []string{"CAP_CHOWN"}, Kernel{6, 1})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := get(profile(1))
	kept := func() []string {
		files, _ := filepath.Glob(filepath.Join(c.Dir, "*"))
		return files
	}
	if len(kept()) != 1 {
		t.Fatalf("kept %v, want one file", kept())
	}
	// It is the file that is read, not the profile.
	file := kept()[0]
	other := get(profile(2))
	for _, f := range kept() {
		if f == file {
			continue
		}
		if err := os.Rename(f, file); err != nil {
			t.Fatal(err)
		}
	}
	if got := get(profile(1)); !bytes.Equal(got, other) || bytes.Equal(got, first) {
		t.Error("the kept program was not used")
	}
	// Damage is noticed.
	if err := os.Truncate(file, 40); err != nil {
		t.Fatal(err)
	}
	if got := get(profile(1)); !bytes.Equal(got, first) {
		t.Error("a damaged file was used")
	}
	for n := range cacheSize + 5 {
		get(profile(n + 3))
	}
	if len(kept()) != cacheSize {
		t.Errorf("%d files kept, want %d", len(kept()), cacheSize)
	}
	// Without a place to keep it in, and with a bad profile.
	c.Dir = "/proc/none"
	if got := get(profile(1)); !bytes.Equal(got, first) {
		t.Error("not the same without a cache")
	}
	if _, err := c.Program("{", "amd64", nil, Kernel{6, 1}); err == nil {
		t.Error("no error for a bad profile")
	}
	if cacheKey("p", "amd64", []string{"a"}, Kernel{6, 1}) == cacheKey("p", "amd64", []string{"b"}, Kernel{6, 1}) {
		t.Error("capabilities do not count")
	}
}
