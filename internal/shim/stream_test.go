package shim

import (
	"bytes"
	"os"
	"sync"
	"testing"
	"time"
)

// program is stdio whose output the test writes.
func program(t *testing.T, h *hub) (*stdio, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	s := &stdio{hub: h, outs: []*os.File{r}}
	s.start()
	return s, w
}

// A client that reads nothing does not hold up the end, and gets all when it
// reads again.
func TestDrainWithSlowClient(t *testing.T) {
	var late sync.WaitGroup
	h := newHub(nil, 0, &late)
	client, conn := pair(t)
	h.join(conn, false)
	s, w := program(t, h)
	want := 0
	w.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	for chunk := bytes.Repeat([]byte("x"), 4096); ; {
		n, err := w.Write(chunk)
		want += n
		if err != nil {
			break // all buffers are full
		}
	}
	w.Close()
	start := time.Now()
	s.drain()
	h.finish(Exit{Code: 3})
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("a slow client held up the end for %v", d)
	}
	var out bytes.Buffer
	x, err := client.Pump(&out, nil)
	if err != nil || x.Code != 3 || out.Len() != want {
		t.Errorf("%+v %v, %d bytes of %d", x, err, out.Len(), want)
	}
	late.Wait()
}

// A pipe that somebody else holds open ends after a while, with all that was in it.
func TestDrainOfPipeThatStaysOpen(t *testing.T) {
	h := newHub(nil, 0, new(sync.WaitGroup))
	client, conn := pair(t)
	h.join(conn, false)
	s, w := program(t, h)
	var out bytes.Buffer
	ended := make(chan error)
	go func() { _, err := client.Pump(&out, nil); ended <- err }()
	w.Write([]byte("last words"))
	s.drain()
	h.finish(Exit{})
	if err := <-ended; err != nil || out.String() != "last words" {
		t.Errorf("%v %q", err, &out)
	}
}

// A terminal outlives the client that had its input.
func TestTerminalKeepsInput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := &stdio{hub: newHub(nil, 0, nil), tty: true}
	s.terminal(w)
	s.closeInput()
	s.write([]byte("hi"))
	buf := make([]byte, 2)
	if _, err := r.Read(buf); err != nil || string(buf) != "hi" {
		t.Errorf("%v %q", err, buf)
	}
	w.Close()
}
