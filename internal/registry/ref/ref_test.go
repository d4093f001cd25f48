package ref

import (
	"errors"
	"strings"
	"testing"
)

const hex64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
const dgst = "sha256:" + hex64

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in, full, familiar string
	}{
		{"busybox", "docker.io/library/busybox:latest", "busybox:latest"},
		{"busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"},
		{"library/busybox", "docker.io/library/busybox:latest", "busybox:latest"},
		{"docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"},
		{"docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"},
		{"index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"},
		{"lmsysorg/sglang:latest", "docker.io/lmsysorg/sglang:latest", "lmsysorg/sglang:latest"},
		{"library/foo/bar", "docker.io/library/foo/bar:latest", "library/foo/bar:latest"},
		{"busybox@" + dgst, "docker.io/library/busybox@" + dgst, "busybox@" + dgst},
		{"busybox:1@" + dgst, "docker.io/library/busybox:1@" + dgst, "busybox:1@" + dgst},
		{"localhost/x", "localhost/x:latest", "localhost/x:latest"},
		{"localhost", "docker.io/library/localhost:latest", "localhost:latest"},
		{"localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"},
		{"localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"},
		{"127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c"},
		{"[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"},
		{"[2001:db8::1]/x:y", "[2001:db8::1]/x:y", "[2001:db8::1]/x:y"},
		{"ghcr.io/Owner", "", ""},
		{"GHCR/owner", "GHCR/owner:latest", "GHCR/owner:latest"},
		{"xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com/myimage:xn--n3h.com"},
		{"foo_bar.com:8080", "docker.io/library/foo_bar.com:8080", "foo_bar.com:8080"},
		{"foo/foo_bar.com:8080", "docker.io/foo/foo_bar.com:8080", "foo/foo_bar.com:8080"},
		{"foo_bar.com/x", "", ""},
		{"a__b/c--d/e.f", "docker.io/a__b/c--d/e.f:latest", "a__b/c--d/e.f:latest"},
		{"docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"},
		{hex64 + ":x", "docker.io/library/" + hex64 + ":x", hex64 + ":x"},
		{hex64[1:], "docker.io/library/" + hex64[1:] + ":latest", hex64[1:] + ":latest"},
		{"x:" + strings.Repeat("t", 128), "docker.io/library/x:" + strings.Repeat("t", 128), "x:" + strings.Repeat("t", 128)},
		{"h.io/" + strings.Repeat("a", 255), "h.io/" + strings.Repeat("a", 255) + ":latest", "h.io/" + strings.Repeat("a", 255) + ":latest"},
		{"1.2/x", "1.2/x:latest", "1.2/x:latest"},
	} {
		r, err := Parse(c.in)
		if c.full == "" {
			if err == nil {
				t.Errorf("Parse(%q) = %s, want an error", c.in, r)
			}
			continue
		}
		if err != nil {
			t.Errorf("Parse(%q): %v", c.in, err)
			continue
		}
		if r.String() != c.full {
			t.Errorf("Parse(%q) = %s, want %s", c.in, r, c.full)
		}
		if r.Familiar() != c.familiar {
			t.Errorf("Parse(%q).Familiar() = %s, want %s", c.in, r.Familiar(), c.familiar)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "invalid reference format"},
		{":latest", "invalid reference format"},
		{"@" + dgst, "invalid reference format"},
		{"BusyBox", "repository name (library/BusyBox) must be lowercase"},
		{"docker.io/Foo/bar", "repository name (Foo/bar) must be lowercase"},
		{"localhost:5000/Foo:x", "repository name (Foo) must be lowercase"},
		{hex64, "cannot specify 64-byte hexadecimal strings"},
		{"x:" + strings.Repeat("t", 129), "invalid reference format"},
		{"h.io/" + strings.Repeat("a", 256), "must not be more than 255 characters"},
		{"x:", "invalid reference format"},
		{"x@", "invalid reference format"},
		{"x:.t", "invalid reference format"},
		{"x:t:u", "invalid reference format"},
		{"x@sha256:" + hex64[:20], "invalid reference format"},
		{"x@sha256:" + hex64[:40], "invalid checksum digest length"},
		{"x@sha512:" + hex64 + hex64, "unsupported digest algorithm"},
		{"x@sha256:" + strings.ToUpper(hex64), "invalid checksum digest length"},
		{"x@" + dgst + ":t", "invalid reference format"},
		{"-x", "invalid reference format"},
		{"x-", "invalid reference format"},
		{"a___b", "invalid reference format"},
		{"a..b", "invalid reference format"},
		{"a/", "invalid reference format"},
		{"/a", "invalid reference format"},
		{"a//b", "invalid reference format"},
		{"docker.io/", "invalid reference format"},
		{"-h.io/x", "invalid reference format"},
		{"h.io:/x", "invalid reference format"},
		{"h.io:p/x", "invalid reference format"},
		{"::1/x", "invalid reference format"},
		{"[::1/x", "invalid reference format"},
		{"[]/x", "invalid reference format"},
		{"[fe80::1%eth0]:5000/x", "invalid reference format"},
		{"https://h.io/x", "invalid reference format"},
		{"a b", "invalid reference format"},
		{"../x", "invalid reference format"},
		{"a/../b", "invalid reference format"},
		{"é", "invalid reference format"},
	} {
		r, err := Parse(c.in)
		if err == nil {
			t.Errorf("Parse(%q) = %s, want an error", c.in, r)
			continue
		}
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Parse(%q): %v, want %q", c.in, err, c.want)
		}
	}
}

func TestDerived(t *testing.T) {
	r, err := Parse("quay.io/a/b:c@" + dgst)
	if err != nil {
		t.Fatal(err)
	}
	if r.Name() != "quay.io/a/b" || !r.IsDigested() {
		t.Errorf("got %q, digested %v", r.Name(), r.IsDigested())
	}
	tagged, err := r.WithTag("d")
	if err != nil || tagged.String() != "quay.io/a/b:d" || tagged.IsDigested() {
		t.Errorf("WithTag: %v, %v", tagged, err)
	}
	if _, err := r.WithTag("a b"); !errors.Is(err, ErrInvalid) {
		t.Errorf("WithTag of a bad tag: %v", err)
	}
	if got := tagged.WithDigest(dgst).String(); got != "quay.io/a/b@"+dgst {
		t.Errorf("WithDigest: %s", got)
	}
	n, err := ParseName("busybox")
	if err != nil || n.Tag != "" || n.Familiar() != "busybox" {
		t.Errorf("ParseName: %+v, %v", n, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"busybox", "a/b:c", "localhost:5000/x@" + dgst, "[::1]:5/x:y@" + dgst, "docker.io/a.b/c", "A/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%q: %v does not wrap ErrInvalid", s, err)
			}
			return
		}
		for _, text := range []string{r.String(), r.Familiar()} {
			again, err := Parse(text)
			if err != nil || again != r {
				t.Fatalf("%q gives %+v, %q gives %+v, %v", s, r, text, again, err)
			}
		}
	})
}
