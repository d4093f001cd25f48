package volume

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that callers tell apart.
var (
	ErrNotFound     = errors.New("not found")
	ErrInUse        = errors.New("in use")
	ErrInvalid      = errors.New("invalid argument")
	ErrNotSupported = errors.New("not supported")
)

// Error is a sentence for people with a kind for programs.
type Error struct {
	Kind error // ErrNotFound, ErrInUse, …
	Text string
}

func (e *Error) Error() string { return e.Text }

func (e *Error) Unwrap() error { return e.Kind }

// wrapError puts words before an error and keeps its kind. Nil stays nil.
func wrapError(words string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", strings.TrimSpace(words), err)
}
