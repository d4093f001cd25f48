package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"
)

// ParseError says that a template cannot be read. A template that can, but asks
// for what is not there, gives another error.
type ParseError struct{ Err error }

func (e *ParseError) Error() string { return e.Err.Error() }
func (e *ParseError) Unwrap() error { return e.Err }

// parse reads a template of the caller's. A backslash with t or n stands for
// tab and new line, because shells pass it on as it is.
func parse(source string) (*template.Template, error) {
	source = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(strings.TrimSpace(source))
	t, err := template.New("").Funcs(functions()).Parse(source)
	if err != nil {
		return nil, &ParseError{err}
	}
	return t, nil
}

// functions are those that Docker adds to Go's own.
func functions() template.FuncMap {
	return template.FuncMap{
		"json":     toJSON,
		"split":    strings.Split,
		"join":     join,
		"title":    title,
		"lower":    strings.ToLower,
		"upper":    strings.ToUpper,
		"pad":      pad,
		"truncate": truncate,
		"println":  func(args ...any) string { return fmt.Sprintln(args...) },
	}
}

// headFunctions stand for them in the head of a table, where the words are
// not to be changed.
func headFunctions() template.FuncMap {
	same := func(s string, _ ...any) string { return s }
	swapped := func(args ...string) string { return args[0] }
	return template.FuncMap{
		"json": same, "split": same, "title": same, "lower": same,
		"upper": same, "pad": same, "truncate": same, "join": swapped,
	}
}

func toJSON(v any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return strings.TrimSpace(b.String()), err
}

func join(elems any, sep string) (string, error) {
	if s, ok := elems.([]string); ok {
		return strings.Join(s, sep), nil
	}
	v := reflect.ValueOf(elems)
	if v.Kind() != reflect.Slice && v.Kind() != reflect.Array {
		return "", fmt.Errorf("expected slice, got %T", elems)
	}
	var words []string
	for i := range v.Len() {
		words = append(words, fmt.Sprint(v.Index(i).Interface()))
	}
	return strings.Join(words, sep), nil
}

// title makes the first letter of each word a capital.
func title(s string) string {
	start := true
	return strings.Map(func(r rune) rune {
		was := start
		start = !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '\''
		if was {
			return unicode.ToTitle(r)
		}
		return r
	}, s)
}

func pad(s string, before, after int) string {
	if s == "" {
		return s
	}
	return strings.Repeat(" ", max(0, before)) + s + strings.Repeat(" ", max(0, after))
}

func truncate(s string, length int) string {
	if length < 0 || utf8.RuneCountInString(s) <= length {
		return s
	}
	return string([]rune(s)[:length])
}
