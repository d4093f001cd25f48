package inside

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/internal/userns"
)

const errPipe = syscall.EPIPE

// worker is a process that works for us.
type worker struct {
	process *userns.Process
	control *os.File
	replies *json.Decoder
	in, out *os.File // its standard input and output
}

// begin starts one. It is this program once more, under another name.
func begin(ns *os.File) (_ *worker, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	w := &worker{control: os.NewFile(uintptr(pair[0]), "control")}
	theirs := []*os.File{nil, nil, os.Stderr, os.NewFile(uintptr(pair[1]), "control")}
	defer func() {
		for _, i := range []int{0, 1, 3} {
			theirs[i].Close() // nil is closed without harm
		}
		if err != nil {
			w.end()
		}
	}()
	if theirs[0], w.in, err = os.Pipe(); err != nil {
		return nil, err
	}
	if w.out, theirs[1], err = os.Pipe(); err != nil {
		return nil, err
	}
	w.process, err = userns.Start(ns, userns.Command{
		Path: "/proc/self/exe", Args: []string{Arg0}, Env: os.Environ(), Dir: "/", Files: theirs,
	})
	if err != nil {
		return nil, err
	}
	w.replies = json.NewDecoder(w.control)
	return w, nil
}

func (w *worker) send(v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = w.control.Write(b)
	}
	return err
}

// feed copies a stream to the process, and tells it whether that has come whole:
// the end of a pipe alone does not say.
func (w *worker) feed(r io.Reader) chan error {
	fed := make(chan error, 1)
	go func() {
		_, err := io.Copy(w.in, r)
		if serr := w.send(whole{Whole: err == nil}); err == nil {
			err = serr
		}
		fed <- err // before the process can see the end
		w.in.Close()
	}()
	return fed
}

func (w *worker) receive() (reply, error) {
	var a reply
	if err := w.replies.Decode(&a); err != nil {
		return a, fmt.Errorf("the process that works on files of other ids has ended: %w", err)
	}
	if a.Failure != nil {
		return a, a.Failure.unpack()
	}
	return a, nil
}

// end closes what we hold of the process, which ends it, and waits for it.
func (w *worker) end() {
	for _, f := range []*os.File{w.control, w.in, w.out} {
		f.Close()
	}
	if w.process != nil {
		w.process.Wait()
	}
}
