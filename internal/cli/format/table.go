package format

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
)

// Options says how rows are printed.
type Options struct {
	Format  string   // --format: empty, table, table TEMPLATE, json or TEMPLATE
	Columns []string // fields of the plain table
	Quiet   bool     // only the field Key, unless a template asks for more
	Key     string
	Raw     string // the template behind --format raw, where there is one
}

// Rows prints rows, which are structs, to w.
func Rows[T any](w io.Writer, rows []T, o Options) error {
	source := strings.TrimSpace(o.Format)
	switch {
	case source == "" || source == "table":
		if o.Quiet {
			return plainLines(w, rows, o.Key)
		}
		return plainTable(w, rows, o.Columns)
	case source == "json":
		return jsonLines(w, rows)
	case source == "raw" && o.Raw != "":
		return templateLines(w, rows, o.Raw)
	}
	if columns, ok := strings.CutPrefix(source, "table"); ok {
		return templateTable(w, rows, strings.TrimSpace(columns))
	}
	return templateLines(w, rows, source)
}

// newTable returns a writer with Docker's column distances.
func newTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 10, 1, 3, ' ', 0) }

// Table prints a head and rows of plain words.
func Table(w io.Writer, head []string, rows [][]string) error {
	t := newTable(w)
	for _, r := range append([][]string{head}, rows...) {
		if _, err := io.WriteString(t, strings.Join(r, "\t")+"\n"); err != nil {
			return err
		}
	}
	return t.Flush()
}

func plainTable[T any](w io.Writer, rows []T, columns []string) error {
	head := headers(reflect.TypeFor[T]())
	var words []string
	for _, c := range columns {
		words = append(words, head[c])
	}
	var lines [][]string
	for _, r := range rows {
		v := reflect.ValueOf(r)
		line := make([]string, 0, len(columns))
		for _, c := range columns {
			line = append(line, v.FieldByName(c).String())
		}
		lines = append(lines, line)
	}
	return Table(w, words, lines)
}

func plainLines[T any](w io.Writer, rows []T, key string) error {
	var b bytes.Buffer
	for _, r := range rows {
		b.WriteString(reflect.ValueOf(r).FieldByName(key).String() + "\n")
	}
	_, err := w.Write(b.Bytes())
	return err
}

func jsonLines[T any](w io.Writer, rows []T) error {
	for _, r := range rows {
		line, err := toJSON(r)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, line+"\n"); err != nil {
			return err
		}
	}
	return nil
}

func templateLines[T any](w io.Writer, rows []T, source string) error {
	t, err := parse(source)
	if err != nil {
		return fmt.Errorf("failed to parse template: %w", err)
	}
	// Nothing is printed when a row fails.
	var b bytes.Buffer
	for _, r := range rows {
		if err := t.Execute(&b, r); err != nil {
			return explain[T](err)
		}
		b.WriteByte('\n')
	}
	_, err = w.Write(b.Bytes())
	return err
}

// explain says of a field that rows do not have which ones there are, in the
// place of our name for the type.
func explain[T any](err error) error {
	row := reflect.TypeFor[T]()
	text, ofRow := strings.CutSuffix(err.Error(), " in type "+row.String())
	if !ofRow {
		return fmt.Errorf("failed to execute template: %w", err)
	}
	var names []string
	for _, f := range reflect.VisibleFields(row) {
		if f.IsExported() && !f.Anonymous {
			names = append(names, f.Name)
		}
	}
	return fmt.Errorf("failed to execute template: %s: the fields are %s", text, strings.Join(names, ", "))
}

func templateTable[T any](w io.Writer, rows []T, source string) error {
	t, err := parse(source)
	if err != nil {
		return fmt.Errorf("failed to parse template: %w", err)
	}
	var body bytes.Buffer
	for _, r := range rows {
		if err := t.Execute(&body, r); err != nil {
			return explain[T](err)
		}
		body.WriteByte('\n')
	}
	out := newTable(w)
	if err := t.Funcs(headFunctions()).Execute(out, headers(reflect.TypeFor[T]())); err != nil {
		return err
	}
	if _, err := out.Write(append([]byte{'\n'}, body.Bytes()...)); err != nil {
		return err
	}
	return out.Flush()
}

// head gives for each field the words above its column.
type head map[string]string

// Label is the head of a column made of one label: its last word.
func (h head) Label(name string) string {
	name = name[strings.LastIndexByte(name, '.')+1:]
	return strings.NewReplacer("-", " ", "_", " ").Replace(name)
}

func headers(t reflect.Type) head {
	h := head{}
	for i := range t.NumField() {
		f := t.Field(i)
		if word := f.Tag.Get("header"); word != "" {
			h[f.Name] = word
		} else {
			h[f.Name] = strings.ToUpper(f.Name)
		}
	}
	return h
}
