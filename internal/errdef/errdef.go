// Package errdef has the kinds of errors that callers tell apart.
//
// Commands answer people in sentences, in Docker's words. What a program wants
// to know of such an answer is only what kind it is of: the thing is not there,
// something is in its way, or the request makes no sense. So an error here is a
// sentence with a kind, and errors.Is finds the kind through all that wraps it.
package errdef

import "errors"

// The kinds. An error of a kind names in its text the object that it is about.
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
