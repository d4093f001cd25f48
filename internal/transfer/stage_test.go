package transfer

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"berth/internal/layer"
)

// spaces are those of whoever runs the tests.
func spaces() Namespaces {
	return Namespaces{User: os.Geteuid() != 0, UID: os.Geteuid(), GID: os.Getegid()}
}

// TestStage: a stage mounts what a container would have, and answers.
func TestStage(t *testing.T) {
	base := tree(t, map[string]string{
		"low/etc/passwd": "low", "low/gone": "x", "top/etc/hosts": "top", "upper/": "", "work/": "", "root/": "",
		"vol/in": "volume", "ro/in": "volume", "copy/x": "copied",
	})
	overlay := Layout{
		Base: base, Target: "root", Lower: []string{"top", "low"}, Upper: "upper", Work: "work",
		UserXattr: layer.UserXattr(),
	}
	copied := Layout{Base: base, Target: "copy"}
	mounts := []Mount{
		{Source: filepath.Join(base, "vol"), Destination: "/v"},
		{Source: filepath.Join(base, "ro"), Destination: "/v/deep/ro", ReadOnly: true},
		{Source: filepath.Join(base, "low/gone"), Destination: "/made/file", File: true},
	}
	for _, l := range []Layout{overlay, copied} {
		l.Mounts = mounts
		serve := func(test func(s *Session)) {
			t.Helper()
			s, err := Start(t.Context(), l, spaces())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			test(s)
		}
		serve(func(s *Session) {
			st, err := s.Stat("/v/in")
			if err != nil || st.Size != 6 {
				t.Errorf("%+v, %v", st, err)
			}
			if _, err := s.Stat("/none"); !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
			in := stream(t, file("etc/new", "new"), file("v/written", "w"))
			if u, err := s.Put(t.Context(), "/", bytes.NewReader(in), UnpackOptions{}); err != nil || u.Bytes != 4 {
				t.Errorf("%+v, %v", u, err)
			}
		})
		serve(func(s *Session) {
			var b bytes.Buffer
			if n, err := s.Get(t.Context(), "/v/.", "v", &b); err != nil || n == 0 {
				t.Error(n, err)
			}
			if got := names(t, b.Bytes()); !slices.Contains(got, "v/written=w") || !slices.Contains(got, "v/deep/ro/in=volume") {
				t.Errorf("%q", got)
			}
		})
		serve(func(s *Session) {
			_, err := s.Put(t.Context(), "/v/deep/ro", bytes.NewReader(stream(t, file("x", "x"))), UnpackOptions{})
			if !errors.Is(err, ErrReadOnlyPart) {
				t.Errorf("into a read-only volume: %v", err)
			}
		})
		serve(func(s *Session) {
			_, err := s.Put(t.Context(), "/made", bytes.NewReader(stream(t, file("file", "x"))), UnpackOptions{})
			if err == nil {
				t.Error("what is mounted on was replaced")
			}
		})
		l.ReadOnly = true
		serve(func(s *Session) {
			_, err := s.Put(t.Context(), "/etc", bytes.NewReader(stream(t, file("x", "x"))), UnpackOptions{})
			if !errors.Is(err, ErrReadOnlyRoot) {
				t.Errorf("into a read-only root: %v", err)
			}
		})
	}
	if b, err := os.ReadFile(filepath.Join(base, "upper/etc/new")); err != nil || string(b) != "new" {
		t.Errorf("in the upper folder: %q, %v", b, err)
	}
	if left, _ := os.ReadDir(filepath.Join(base, "root")); len(left) > 0 {
		t.Errorf("a mount was left: %v", left)
	}
}

// TestStageAnyBytes: names that are no UTF-8 mean the same on both sides.
func TestStageAnyBytes(t *testing.T) {
	const odd = "a\xffb\n"
	base := tree(t, map[string]string{"copy/" + odd + "/x": "content", "copy/link\xfe": "->/" + odd})
	s, err := Start(t.Context(), Layout{Base: base, Target: "copy"}, spaces())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if st, err := s.Stat("/link\xfe"); err != nil || st.Name != "link\xfe" || st.Target != "/"+odd {
		t.Errorf("%+v, %v", st, err)
	}
	if _, err := s.Put(t.Context(), "/"+odd, bytes.NewReader(stream(t, file("y", "new"))), UnpackOptions{}); err != nil {
		t.Error(err)
	}
	var b bytes.Buffer
	if _, err := s.Get(t.Context(), "/"+odd, odd, &b); err != nil {
		t.Error(err)
	}
	if got, want := names(t, b.Bytes()), []string{odd + "/", odd + "/x=content", odd + "/y=new"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestRootOf: another process's root, and only if it is the one.
func TestRootOf(t *testing.T) {
	cmd := exec.Command("/bin/sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	r, err := RootOf(cmd.Process.Pid, func() bool { return true }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Stat("/bin/sleep"); err != nil {
		t.Error(err)
	}
	s, err := Attach(t.Context(), r, spaces())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if st, err := s.Stat("/proc/"); err != nil || !st.Mode.IsDir() {
		t.Error(st, err)
	}
	if _, err := RootOf(cmd.Process.Pid, func() bool { return false }, nil); err == nil {
		t.Error("it was another process, and its root was opened")
	}
}
