package term

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/creack/pty"
)

func TestInput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	in, err := NewInput(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	buf := make([]byte, 10)
	if _, err := in.read(buf, time.Millisecond); err != errTimeout {
		t.Errorf("an empty pipe gave %v, want a timeout", err)
	}
	w.WriteString("hello")
	if n, err := in.Read(buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	w.Close()
	if _, err := in.Read(buf); err != io.EOF {
		t.Errorf("the end of a pipe gave %v", err)
	}
}

// TestInputEnd: the end of the file is told apart from Stop.
func TestInputEnd(t *testing.T) {
	ended := errors.New("ended")
	for _, stop := range []bool{false, true} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		in, err := NewInput(r, func() error { return ended })
		if err != nil {
			t.Fatal(err)
		}
		want := ended
		if stop {
			in.Stop()
			want = io.EOF
		}
		w.Close()
		if _, err := in.Read(make([]byte, 1)); err != want {
			t.Errorf("stopped %v: %v, want %v", stop, err, want)
		}
		in.Close()
		r.Close()
	}
}

// TestInputStopLeavesKeys: what is typed after Stop is for the next reader.
func TestInputStopLeavesKeys(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	in, err := NewInput(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := in.Read(make([]byte, 1))
		done <- err
	}()
	in.Stop()
	if err := <-done; err != io.EOF {
		t.Errorf("a stopped read gave %v, want EOF", err)
	}
	w.WriteString("x")
	if _, err := in.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a read after Stop gave %v, want EOF", err)
	}
	in.Close()
	if _, err := in.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a read after Close gave %v, want EOF", err)
	}
	buf := make([]byte, 1)
	if n, _ := r.Read(buf); n != 1 || buf[0] != 'x' {
		t.Errorf("the key typed after Stop is gone")
	}
}

func TestRaw(t *testing.T) {
	ptmx, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer ptmx.Close()
	defer tty.Close()
	if !IsTerminal(tty) {
		t.Fatal("a pseudo-terminal is no terminal?")
	}
	if err := pty.Setsize(ptmx, &pty.Winsize{Rows: 30, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	if h, w := Size(tty); h != 30 || w != 100 {
		t.Errorf("size %d x %d, want 30 x 100", h, w)
	}
	raw, err := MakeRaw(tty)
	if err != nil {
		t.Fatal(err)
	}
	in, err := NewInput(tty, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	// In raw mode Ctrl-C and a key without Enter arrive as bytes.
	ptmx.WriteString("\x03k")
	buf := make([]byte, 10)
	n, err := io.ReadFull(in, buf[:2])
	if err != nil || string(buf[:n]) != "\x03k" {
		t.Errorf("raw read %q, %v", buf[:n], err)
	}
	raw.Restore()
	raw.Restore()
	ptmx.WriteString("half a line")
	if _, err := in.read(buf, 50*time.Millisecond); err != errTimeout {
		t.Errorf("after Restore a line without Enter was readable (%v)", err)
	}
}

func TestSizeOfNoTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if h, ww := Size(r); h != 0 || ww != 0 || IsTerminal(r) || IsTerminal(nil) {
		t.Error("a pipe passes for a terminal")
	}
}
