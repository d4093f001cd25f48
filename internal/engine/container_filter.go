package engine

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"berth/internal/filter"
	"berth/internal/shim"
)

// containerFilter compiles Docker's filters to one test.
func (e *Engine) containerFilter(filters map[string][]string, entries []entry) (func(entry) bool, error) {
	tests := []func(entry) bool{}
	for key, values := range filters {
		any := []func(entry) bool{}
		for _, v := range values {
			t, err := e.oneFilter(key, v, entries)
			if err != nil {
				return nil, err
			}
			any = append(any, t)
		}
		every := key == "label" || key == "label!"
		tests = append(tests, func(en entry) bool {
			for _, t := range any {
				if t(en) != every {
					return !every
				}
			}
			return every
		})
	}
	return func(en entry) bool {
		for _, t := range tests {
			if !t(en) {
				return false
			}
		}
		return true
	}, nil
}

func (e *Engine) oneFilter(key, v string, entries []entry) (func(entry) bool, error) {
	switch key {
	case "id":
		return func(en entry) bool { return strings.HasPrefix(en.ID, v) }, nil
	case "name":
		return nameFilter(v)
	case "label", "label!":
		k, val, withValue := strings.Cut(v, "=")
		return func(en entry) bool {
			got, ok := en.Config.Labels[k]
			return (ok && (!withValue || got == val)) == (key == "label")
		}, nil
	case "status":
		if err := container.ValidateContainerState(container.ContainerState(v)); err != nil {
			return nil, &Error{Kind: ErrInvalid, Text: "invalid filter 'status=" + v + "'"}
		}
		return func(en entry) bool { return en.st.Phase == v }, nil
	case "exited":
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, &Error{Kind: ErrInvalid, Text: "invalid filter 'exited=" + v + "'"}
		}
		return func(en entry) bool { return en.st.Phase == shim.Exited && en.st.ExitCode == n }, nil
	case "health":
		return func(entry) bool { return v == "none" }, nil
	case "before", "since":
		return e.ageFilter(key, v, entries)
	case "until":
		t, err := parseUntil(v)
		return func(en entry) bool { return en.Created.Before(t) }, err
	}
	return e.useFilter(key, v)
}

// useFilter tests what a container is made of.
func (e *Engine) useFilter(key, v string) (func(entry) bool, error) {
	switch key {
	case "ancestor":
		img, err := e.images.Find(v)
		if err != nil {
			return func(en entry) bool { return en.Image == v }, nil
		}
		return func(en entry) bool {
			if en.ImageID == img.ID {
				return true
			}
			return e.descends(en.Layers, img.Layers)
		}, nil
	case "volume":
		return func(en entry) bool {
			return slices.ContainsFunc(en.Mounts, func(m container.MountPoint) bool {
				return m.Name == v || m.Source == v || m.Destination == v
			})
		}, nil
	case "network":
		return func(en entry) bool { _, ok := networksOf(en.record)[v]; return ok }, nil
	case "publish", "expose":
		return func(en entry) bool { return hasPort(en, key == "publish", v) }, nil
	case "isolation", "is-task":
		return func(entry) bool { return true }, nil
	}
	return nil, &Error{Kind: ErrInvalid, Text: "invalid filter '" + key + "'"}
}

func (e *Engine) descends(layers, base []string) bool {
	return len(base) > 0 && len(layers) >= len(base) && slices.Equal(layers[:len(base)], base)
}

func (e *Engine) ageFilter(key, v string, entries []entry) (func(entry) bool, error) {
	id, err := e.find(v)
	if err != nil {
		return nil, err
	}
	for _, en := range entries {
		if en.ID == id {
			at := en.Created
			if key == "before" {
				return func(en entry) bool { return en.Created.Before(at) }, nil
			}
			return func(en entry) bool { return en.Created.After(at) }, nil
		}
	}
	return nil, noContainer(v)
}

func hasPort(en entry, published bool, v string) bool {
	want, _, _ := strings.Cut(v, "/")
	if published {
		for p := range en.HostConfig.PortBindings {
			if strconv.Itoa(int(p.Num())) == want {
				return true
			}
		}
		return false
	}
	for p := range en.Config.ExposedPorts {
		if strconv.Itoa(int(p.Num())) == want {
			return true
		}
	}
	return false
}

// parseUntil reads a time, or a span back from now.
func parseUntil(v string) (time.Time, error) {
	if t, ok := filter.Moment(v); ok {
		return t, nil
	}
	return time.Time{}, &Error{Kind: ErrInvalid, Text: "invalid filter 'until=" + v + "'"}
}

// nameFilter matches anywhere in the name, or as a regular expression, as
// Docker's --filter name= does.
func nameFilter(v string) (func(entry) bool, error) {
	v = strings.TrimPrefix(v, "/")
	re, err := regexp.Compile(v)
	if err != nil {
		return nil, &Error{Kind: ErrInvalid, Text: "invalid filter 'name=" + v + "': " + err.Error()}
	}
	return func(en entry) bool { return re.MatchString(en.Name) || re.MatchString("/"+en.Name) }, nil
}

// Short names for what every list asks.
func isTrue(s string) bool  { return filter.True(s) }
func isFalse(s string) bool { return filter.False(s) }
