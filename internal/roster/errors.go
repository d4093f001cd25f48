package roster

import "errors"

// Errors that callers tell apart. Each is wrapped by a message that names the
// object.
var (
	ErrNotFound     = errors.New("not found")
	ErrConflict     = errors.New("conflict")
	ErrInvalid      = errors.New("invalid argument")
	ErrNotRunning   = errors.New("not running")
	ErrNotSupported = errors.New("not supported")
)

// Error is a sentence for people with a kind for programs.
type Error struct {
	Kind error // ErrNotFound, ErrConflict, …
	Text string
}

func (e *Error) Error() string { return e.Text }

func (e *Error) Unwrap() error { return e.Kind }

// NoContainer is the answer for a container that is not there.
func NoContainer(text string) error {
	return &Error{Kind: ErrNotFound, Text: "No such container: " + text}
}
