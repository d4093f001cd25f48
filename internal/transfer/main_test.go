package transfer

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// TestMain lets the test program be the stage.
func TestMain(m *testing.M) {
	if os.Args[0] == Arg0 {
		os.Exit(Main())
	}
	os.Exit(m.Run())
}

// tree makes files below a new folder. A name that ends in "/" is a folder; a
// text that begins with "->" is a symbolic link.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case name[len(name)-1] == '/':
			err = os.MkdirAll(p, 0o755)
		case len(text) > 2 && text[:2] == "->":
			err = os.Symlink(text[2:], p)
		default:
			err = os.WriteFile(p, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// container opens a folder as the root of a container.
func container(t testing.TB, dir string) *Root {
	t.Helper()
	r, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	root := NewRoot(r.fd, []string{"/vol"})
	t.Cleanup(root.Close)
	return root
}

// stream makes an archive.
func stream(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		text := h.Uname // the content, for want of a field
		h.Uname = ""
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(text))
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			io.WriteString(w, text)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name, text string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Uname: text, Mode: 0o644}
}
func folder(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name} }
func link(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
}
func hard(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
}

// names lists an archive: names, with what links lead to and what files hold.
func names(t testing.TB, b []byte) []string {
	t.Helper()
	out := []string{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		s := h.Name
		if h.Linkname != "" {
			s += "->" + h.Linkname
		}
		if h.Typeflag == tar.TypeReg {
			text, _ := io.ReadAll(r)
			s += "=" + string(text)
		}
		out = append(out, s)
	}
}
