package wire

import (
	"errors"

	"berth/internal/errdef"
)

// Refuse is the answer that says why not.
func Refuse(err error) *Response {
	a := &Response{V: 1, Error: err.Error()}
	errors.As(err, &a.Taken)
	for _, k := range kinds() {
		if errors.Is(err, k) {
			a.Kind = k.Error()
		}
	}
	return a
}

// Err is the error that an answer has, or nil.
func (a *Response) Err() error {
	if a.Error == "" {
		return nil
	}
	if a.Taken != nil {
		return a.Taken
	}
	for _, k := range kinds() {
		if a.Kind == k.Error() {
			return &errdef.Error{Kind: k, Text: a.Error}
		}
	}
	return errors.New(a.Error)
}

func kinds() []error {
	return []error{errdef.ErrNotFound, errdef.ErrConflict, errdef.ErrInvalid, errdef.ErrNotRunning, errdef.ErrNotSupported}
}
