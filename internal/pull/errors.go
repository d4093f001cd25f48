package pull

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"berth/internal/errdef"
	"berth/internal/registry"
	"berth/internal/registry/ref"
)

// kinds says what registry's errors are in the engine's words. Docker calls
// what it may not see "not found", too.
func kindOf(err error) error {
	switch {
	case errors.Is(err, registry.ErrNotFound), errors.Is(err, registry.ErrDenied):
		return errdef.ErrNotFound
	case errors.Is(err, registry.ErrUnsupported):
		return errdef.ErrNotSupported
	case errors.Is(err, ref.ErrInvalid):
		return errdef.ErrInvalid
	}
	return nil
}

// classify gives an error the kind that the engine's callers look for. Its
// text and its chain stay.
func classify(err error) error {
	var e *errdef.Error
	if errors.As(err, &e) {
		return err
	}
	if k := kindOf(err); k != nil {
		return &kindError{kind: k, error: err}
	}
	return err
}

type kindError struct {
	error
	kind error
}

func (e *kindError) Unwrap() []error { return []error{e.error, e.kind} }

func invalid(err error) error { return &kindError{kind: errdef.ErrInvalid, error: err} }

// fullError says that there is no room for a layer.
type fullError struct {
	dir   string
	cause error
}

func (e *fullError) Error() string {
	return fmt.Sprintf("no space left in %s: free some and pull again, which goes on from here, or choose another place with --root", e.dir)
}

func (e *fullError) Unwrap() error { return e.cause }

func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// lost reports whether an error says nothing about the image: the network
// broke, the disk is full or the user had enough. Then what has come already is
// worth keeping.
func lost(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, registry.ErrUnreachable) || isFull(err)
}
