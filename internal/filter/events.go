package filter

import (
	"errors"
	"slices"
	"strings"
)

// event is what a filter of events looks at.
type event struct {
	typ, action, id string
	attributes      map[string]string
}

// Events compiles the filters of `events` to one test: of the values of one
// key any has to fit, of labels every one.
func Events(filters map[string][]string) (func(typ, action, id string, attributes map[string]string) bool, error) {
	for key := range filters {
		switch key {
		case "container", "daemon", "event", "image", "label", "network", "plugin", "scope", "type", "volume",
			"config", "node", "secret", "service":
		default:
			return nil, errors.New("invalid filter '" + key + "'")
		}
	}
	return func(typ, action, id string, attributes map[string]string) bool {
		e := event{typ, action, id, attributes}
		for key, values := range filters {
			misfit := func(v string) bool { return !e.fits(key, v) }
			if key == "label" && slices.ContainsFunc(values, misfit) ||
				key != "label" && len(values) > 0 && !slices.ContainsFunc(values, func(v string) bool { return !misfit(v) }) {
				return false
			}
		}
		return true
	}, nil
}

func (e event) fits(key, v string) bool {
	switch key {
	case "type":
		return e.typ == v
	case "scope":
		return v == "local"
	case "event":
		// "exec_create" stands for all of "exec_create: sh -c …".
		head, _, _ := strings.Cut(e.action, ":")
		return e.action == v || head == v
	case "label":
		return HasLabel(e.attributes, v)
	case "image":
		return e.isOfImage(v)
	}
	name := strings.TrimPrefix(v, "/")
	return e.typ == key && v != "" && (strings.HasPrefix(e.id, v) || e.attributes["name"] == name)
}

// isOfImage tests the image that something happened to, or that a container
// was made of: by its name, with or without the tag.
func (e event) isOfImage(v string) bool {
	name := e.attributes["image"]
	if e.typ == "image" {
		if e.id == v {
			return true
		}
		name = e.attributes["name"]
	}
	repository := name
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		repository = name[:i]
	}
	return name != "" && (name == v || repository == v)
}
