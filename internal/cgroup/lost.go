package cgroup

import (
	"errors"
	"slices"
	"strings"
)

// losses are the limits that cannot be had, by the reason: one reason is mostly
// that of all of them, and is said once.
type losses struct {
	reasons []string
	options map[string][]string
}

// add notes why a setting cannot be had, if there is a reason. What nobody
// asked for by name is not missed.
func (l *losses) add(s setting, why string) {
	if why == "" || s.implied || slices.Contains(l.options[why], s.option) {
		return
	}
	if l.options == nil {
		l.options = map[string][]string{}
	}
	if !slices.Contains(l.reasons, why) {
		l.reasons = append(l.reasons, why)
	}
	l.options[why] = append(l.options[why], s.option)
}

// warnings are sentences, one for each reason.
func (l *losses) warnings() []string {
	var out []string
	for _, why := range l.reasons {
		verb := " has"
		if len(l.options[why]) > 1 {
			verb = " have"
		}
		out = append(out, enumerate(l.options[why])+verb+" no effect: "+why)
	}
	return out
}

// refusal is an error instead of the warnings, nil without any.
func (l *losses) refusal() error {
	var out []string
	for _, why := range l.reasons {
		out = append(out, enumerate(l.options[why])+" cannot be had: "+why)
	}
	if len(out) == 0 {
		return nil
	}
	return errors.New(strings.Join(out, "; "))
}

// enumerate joins names as in "a, b and c".
func enumerate(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
