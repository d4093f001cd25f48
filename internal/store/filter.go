package store

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"berth/internal/filter"
	"berth/internal/registry/ref"
)

// ErrFilter says that a filter cannot be understood.
var ErrFilter = errors.New("invalid filter")

// Matching returns the names that fit one of Docker's patterns, which speak of
// familiar names with or without a tag.
func Matching(names, patterns []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		r, err := ref.Parse(name)
		return err != nil || !slices.ContainsFunc(patterns, func(p string) bool {
			full, _ := path.Match(p, r.Familiar())
			bare, _ := path.Match(p, r.FamiliarName())
			return full || bare || p == r.String() || p == r.Name()
		})
	})
}

// Filter compiles Docker's filters of images, as far as they are known here, to
// one test. Several values of a key are alternatives, but labels must all be
// there. Errors are [ErrFilter], and what [Store.Find] answers for an image
// that others are compared with.
func (s *Store) Filter(filters map[string][]string, known ...string) (func(Image) bool, error) {
	var tests []func(Image) bool
	for key, values := range filters {
		if !slices.Contains(known, key) {
			return nil, fmt.Errorf("%w '%s'", ErrFilter, key)
		}
		if key == "reference" && len(values) > 0 {
			tests = append(tests, func(i Image) bool {
				return len(Matching(i.Names, values))+len(Matching(i.RepoDigests, values)) > 0
			})
		}
		for _, v := range values {
			t, err := s.filterOne(key, v)
			if err != nil {
				return nil, err
			}
			if t != nil {
				tests = append(tests, t)
			}
		}
	}
	return func(i Image) bool {
		return !slices.ContainsFunc(tests, func(t func(Image) bool) bool { return !t(i) })
	}, nil
}

// filterOne compiles one value; nil for one that is only checked here.
func (s *Store) filterOne(key, v string) (func(Image) bool, error) {
	switch key {
	case "label":
		return func(i Image) bool { return filter.HasLabel(i.Config.Config.Labels, v) }, nil
	case "label!":
		return func(i Image) bool { return !filter.HasLabel(i.Config.Config.Labels, v) }, nil
	case "before", "since", "until":
		return s.filterAge(key, v)
	case "dangling":
		if !filter.True(v) && !filter.False(v) {
			return nil, fmt.Errorf("%w 'dangling=[%s]'", ErrFilter, v)
		}
		return func(i Image) bool { return (len(i.Names) == 0) == filter.True(v) }, nil
	case "reference":
		if _, err := path.Match(v, ""); err != nil {
			return nil, fmt.Errorf("%w 'reference=%s': %v", ErrFilter, v, err)
		}
	}
	return nil, nil
}

// filterAge tests when an image was made, compared with another or a time.
func (s *Store) filterAge(key, v string) (func(Image) bool, error) {
	var t time.Time
	if key == "until" {
		var ok bool
		if t, ok = filter.Moment(v); !ok {
			return nil, fmt.Errorf("%w 'until=%s': neither a time nor a span such as 24h", ErrFilter, v)
		}
	} else {
		other, err := s.Find(v)
		if err != nil {
			return nil, err
		}
		t = other.Created
	}
	return func(i Image) bool {
		if key == "since" {
			return i.Created.After(t)
		}
		return i.Created.Before(t)
	}, nil
}
