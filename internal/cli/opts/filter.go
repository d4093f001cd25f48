package opts

import (
	"fmt"
	"strings"
)

// Filters collects --filter key=value.
type Filters map[string][]string

// Set implements pflag.Value.
func (f *Filters) Set(s string) error {
	if s == "" {
		return nil
	}
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("invalid filter '%s'", s)
	}
	if *f == nil {
		*f = Filters{}
	}
	key = strings.ToLower(strings.TrimSpace(key))
	(*f)[key] = append((*f)[key], strings.TrimSpace(value))
	return nil
}

func (f *Filters) String() string { return "" }

// Type is the word in help.
func (f *Filters) Type() string { return "filter" }

// List is an option that may be given many times.
type List struct {
	list
}

// NewList returns a list whose values are checked, and perhaps rewritten, by
// check; nil accepts all. Kind is the word in help, empty for "list".
func NewList(kind string, check func(string) (string, error)) *List {
	return &List{list{kind: kind, check: check}}
}

// Values returns what was given, in order.
func (l *List) Values() []string { return l.values }

// Label checks key=value for a label.
func Label(s string) (string, error) { return checkLabel(s) }

// Map splits key=value pairs; a pair without = has an empty value.
func Map(pairs []string) map[string]string { return toMap(pairs) }
