package format

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// Line returns a printer of single values, for lists without an end: "json" or
// a template, one line each.
func Line[T any](source string) (func(io.Writer, T) error, error) {
	source = strings.TrimSpace(source)
	if source == "json" {
		return func(w io.Writer, v T) error { return jsonLines(w, []T{v}) }, nil
	}
	t, err := parse(source)
	if err != nil {
		return nil, err
	}
	return func(w io.Writer, v T) error {
		var b bytes.Buffer
		if err := t.Execute(&b, v); err != nil {
			return fmt.Errorf("failed to execute template: %w", err)
		}
		b.WriteByte('\n')
		_, err := w.Write(b.Bytes())
		return err
	}, nil
}
