package roster

import "berth/internal/errdef"

// NoContainer is the answer for a container that is not there.
func NoContainer(text string) error {
	return &errdef.Error{Kind: errdef.ErrNotFound, Text: "No such container: " + text}
}
