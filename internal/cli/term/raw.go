package term

import (
	"os"
	"sync"

	"golang.org/x/term"
)

// IsTerminal says whether f is a terminal.
func IsTerminal(f *os.File) bool {
	return f != nil && term.IsTerminal(int(f.Fd()))
}

// Size returns the height and width of the terminal f in characters, zeros
// where it has none.
func Size(f *os.File) (height, width uint) {
	w, h, err := term.GetSize(int(f.Fd()))
	if err != nil || w < 0 || h < 0 {
		return 0, 0
	}
	return uint(h), uint(w)
}

// Raw is a terminal that hands on every key as it is: no echo, no line
// editing, and Ctrl-C is a byte like any other.
type Raw struct {
	fd    int
	state *term.State
	once  sync.Once
}

// MakeRaw puts the terminal f into raw mode.
func MakeRaw(f *os.File) (*Raw, error) {
	fd := int(f.Fd())
	state, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	return &Raw{fd: fd, state: state}, nil
}

// NoEcho hides what is typed, for a password; lines still are edited.
func NoEcho(f *os.File, read func() error) error {
	state, err := term.GetState(int(f.Fd()))
	if err != nil {
		return err
	}
	r := &Raw{fd: int(f.Fd()), state: state}
	if err := setEcho(r.fd, false); err != nil {
		return err
	}
	defer r.Restore()
	return read()
}

// Restore brings back the mode found. It may be called by several goroutines
// and more than once.
func (r *Raw) Restore() {
	if r == nil {
		return
	}
	r.once.Do(func() {
		// A terminal that is gone cannot be restored; nobody sees it.
		_ = term.Restore(r.fd, r.state)
	})
}
