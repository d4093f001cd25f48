package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"text/template"
)

// Inspect prints objects: all of them as one JSON array, or each through the
// template source. A template may name the fields of the Go type or, where
// that has none of the name, the members of the JSON form.
func Inspect(w io.Writer, source string, objects []any) error {
	switch source {
	case "":
		return inspectArray(w, objects)
	case "json":
		line, err := toJSON(objects)
		if err == nil {
			_, err = io.WriteString(w, line+"\n")
		}
		return err
	}
	t, err := parse(source)
	if err != nil {
		return fmt.Errorf("template parsing error: %w", err)
	}
	// A member that is missing fails, instead of printing "no value".
	t.Option("missingkey=error")
	var b bytes.Buffer
	for _, o := range objects {
		if err := executeEither(&b, t, o); err != nil {
			return err
		}
	}
	_, err = w.Write(b.Bytes())
	return err
}

// executeEither runs a template over an object, and if that has no such field
// over its JSON form.
func executeEither(b *bytes.Buffer, t *template.Template, o any) error {
	start := b.Len()
	if t.Execute(b, o) != nil {
		b.Truncate(start)
		bare, err := bareJSON(o)
		if err == nil {
			err = t.Execute(b, bare)
		}
		if err != nil {
			return fmt.Errorf("template parsing error: %w", err)
		}
	}
	return b.WriteByte('\n')
}

func inspectArray(w io.Writer, objects []any) error {
	if len(objects) == 0 {
		_, err := io.WriteString(w, "[]\n")
		return err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "    ")
	if err := enc.Encode(objects); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// bareJSON is o as maps and slices; numbers stay as they are written.
func bareJSON(o any) (any, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	return v, dec.Decode(&v)
}

// One prints a single object through a template, or as JSON.
func One(w io.Writer, source string, object any) error {
	if source == "json" {
		line, err := toJSON(object)
		if err == nil {
			_, err = io.WriteString(w, line+"\n")
		}
		return err
	}
	return Inspect(w, source, []any{object})
}
