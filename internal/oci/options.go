package oci

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// options is a set of flags. It reads them as runc does: one or two dashes,
// the value after "=" or in the next word.
type options struct {
	list []*option
}

type option struct {
	names string // "bundle,b"
	value string // what the value is called in help; empty for a switch
	help  string
	set   func(value string) error
}

func (o *options) add(names, value, help string, set func(string) error) {
	o.list = append(o.list, &option{names: names, value: value, help: help, set: set})
}

func (o *options) toggle(to *bool, names, help string) {
	o.add(names, "", help, func(v string) (err error) {
		*to, err = strconv.ParseBool(v)
		return err
	})
}

func (o *options) text(to *string, names, value, help string) {
	o.add(names, value, help, func(v string) error { *to = v; return nil })
}

func (o *options) texts(to *[]string, names, value, help string) {
	o.add(names, value, help, func(v string) error { *to = append(*to, v); return nil })
}

func (o *options) number(to *int, names, value, help string) {
	o.add(names, value, help, func(v string) (err error) {
		*to, err = strconv.Atoi(v)
		return err
	})
}

func (o *options) duration(to *time.Duration, names, value, help string) {
	o.add(names, value, help, func(v string) (err error) {
		*to, err = time.ParseDuration(v)
		return err
	})
}

func (o *options) find(name string) *option {
	for _, opt := range o.list {
		for n := range strings.SplitSeq(opt.names, ",") {
			if n == name {
				return opt
			}
		}
	}
	return nil
}

// parse sets the options and returns the other words. When mixed, options may
// come after words, until "--"; else they end at the first word.
func (o *options) parse(args []string, mixed bool) (words []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return append(words, args...), nil
		case len(arg) < 2 || arg[0] != '-':
			words = append(words, arg)
			if !mixed {
				return append(words, args...), nil
			}
			continue
		}
		name, value, given := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		opt := o.find(name)
		switch {
		case opt == nil:
			return nil, fmt.Errorf("flag provided but not defined: -%s", name)
		case given:
		case opt.value == "":
			value = "true"
		case len(args) == 0:
			return nil, fmt.Errorf("flag needs an argument: -%s", name)
		default:
			value, args = args[0], args[1:]
		}
		if err := opt.set(value); err != nil {
			return nil, fmt.Errorf("invalid value %q for flag -%s: %w", value, name, err)
		}
	}
	return words, nil
}

// print writes the options as help shows them.
func (o *options) print(w io.Writer) {
	var left []string
	width := 0
	for _, opt := range o.list {
		var forms []string
		for n := range strings.SplitSeq(opt.names, ",") {
			dashes := "--"
			if len(n) == 1 {
				dashes = "-"
			}
			forms = append(forms, strings.TrimSpace(dashes+n+" "+opt.value))
		}
		text := strings.Join(forms, ", ")
		left = append(left, text)
		width = max(width, len(text))
	}
	for i, opt := range o.list {
		fmt.Fprintf(w, "   %-*s  %s\n", width, left[i], opt.help)
	}
}
