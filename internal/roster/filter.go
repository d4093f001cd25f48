package roster

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"berth/internal/errdef"
	"berth/internal/filter"
	"berth/internal/shim"
)

// Ancestor finds an image for the filter of that name.
type Ancestor func(name string) (id string, layers []string, ok bool)

// Filter compiles Docker's filters to one test.
func (s *Set) Filter(filters map[string][]string, entries []Entry, image Ancestor) (func(Entry) bool, error) {
	tests := []func(Entry) bool{}
	for key, values := range filters {
		any := []func(Entry) bool{}
		for _, v := range values {
			t, err := s.oneFilter(key, v, entries, image)
			if err != nil {
				return nil, err
			}
			any = append(any, t)
		}
		every := key == "label" || key == "label!"
		tests = append(tests, func(en Entry) bool {
			for _, t := range any {
				if t(en) != every {
					return !every
				}
			}
			return every
		})
	}
	return func(en Entry) bool {
		for _, t := range tests {
			if !t(en) {
				return false
			}
		}
		return true
	}, nil
}

func (s *Set) oneFilter(key, v string, entries []Entry, image Ancestor) (func(Entry) bool, error) {
	switch key {
	case "id":
		return func(en Entry) bool { return strings.HasPrefix(en.ID, v) }, nil
	case "name":
		return nameFilter(v)
	case "label", "label!":
		k, val, withValue := strings.Cut(v, "=")
		return func(en Entry) bool {
			got, ok := en.Config.Labels[k]
			return (ok && (!withValue || got == val)) == (key == "label")
		}, nil
	case "status":
		if err := container.ValidateContainerState(container.ContainerState(v)); err != nil {
			return nil, &errdef.Error{Kind: errdef.ErrInvalid, Text: "invalid filter 'status=" + v + "'"}
		}
		return func(en Entry) bool { return en.Status.Phase == v }, nil
	case "exited":
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, &errdef.Error{Kind: errdef.ErrInvalid, Text: "invalid filter 'exited=" + v + "'"}
		}
		return func(en Entry) bool { return en.Status.Phase == shim.Exited && en.Status.ExitCode == n }, nil
	case "health":
		return healthFilter(v)
	case "before", "since":
		return s.ageFilter(key, v, entries)
	case "until":
		t, err := Until(v)
		return func(en Entry) bool { return en.Created.Before(t) }, err
	}
	return useFilter(key, v, image)
}

func healthFilter(v string) (func(Entry) bool, error) {
	if err := container.ValidateHealthStatus(container.HealthStatus(v)); err != nil {
		return nil, &errdef.Error{Kind: errdef.ErrInvalid, Text: "invalid filter 'health=" + v + "'"}
	}
	return func(en Entry) bool {
		if en.Status.Health == nil {
			return v == string(container.NoHealthcheck)
		}
		return en.Status.Health.Status == v
	}, nil
}

// useFilter tests what a container is made of.
func useFilter(key, v string, image Ancestor) (func(Entry) bool, error) {
	switch key {
	case "ancestor":
		id, layers, ok := image(v)
		if !ok {
			return func(en Entry) bool { return en.Image == v }, nil
		}
		return func(en Entry) bool { return en.ImageID == id || descends(en.Layers, layers) }, nil
	case "volume":
		return func(en Entry) bool {
			return slices.ContainsFunc(en.Mounts, func(m container.MountPoint) bool {
				return m.Name == v || m.Source == v || m.Destination == v
			})
		}, nil
	case "network":
		return func(en Entry) bool { return isIn(en.Record, v) }, nil
	case "publish", "expose":
		return portTest(key, v)
	case "isolation", "is-task":
		return func(Entry) bool { return true }, nil
	}
	return nil, &errdef.Error{Kind: errdef.ErrInvalid, Text: "invalid filter '" + key + "'"}
}

// isIn reports whether a container asks to be in the network of that name or ID.
func isIn(r *Record, v string) bool {
	for name, ep := range Networks(r) {
		if name == v || len(v) >= 12 && strings.HasPrefix(ep.NetworkID, v) {
			return true
		}
	}
	return false
}

func descends(layers, base []string) bool {
	return len(base) > 0 && len(layers) >= len(base) && slices.Equal(layers[:len(base)], base)
}

func (s *Set) ageFilter(key, v string, entries []Entry) (func(Entry) bool, error) {
	id, err := s.Find(v)
	if err != nil {
		return nil, err
	}
	for _, en := range entries {
		if en.ID == id {
			at := en.Created
			if key == "before" {
				return func(en Entry) bool { return en.Created.Before(at) }, nil
			}
			return func(en Entry) bool { return en.Created.After(at) }, nil
		}
	}
	return nil, NoContainer(v)
}

// Until reads a time, or a span back from now.
func Until(v string) (time.Time, error) {
	if t, ok := filter.Moment(v); ok {
		return t, nil
	}
	return time.Time{}, &errdef.Error{Kind: errdef.ErrInvalid, Text: "invalid filter 'until=" + v + "'"}
}

// nameFilter matches anywhere in the name, or as a regular expression, as
// Docker's --filter name= does.
func nameFilter(v string) (func(Entry) bool, error) {
	v = strings.TrimPrefix(v, "/")
	re, err := regexp.Compile(v)
	if err != nil {
		return nil, &errdef.Error{Kind: errdef.ErrInvalid, Text: "invalid filter 'name=" + v + "': " + err.Error()}
	}
	return func(en Entry) bool { return re.MatchString(en.Name) || re.MatchString("/"+en.Name) }, nil
}
