package volume

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"berth/internal/errdef"
	"berth/internal/filter"
)

// checkName applies Docker's rule.
func checkName(name string) error {
	if len(name) == 1 {
		return &errdef.Error{Kind: errdef.ErrInvalid, Text: "volume name is too short, names should be at least two alphanumeric characters"}
	}
	if len(name) > 255 {
		return &errdef.Error{Kind: errdef.ErrInvalid, Text: "volume name is too long, names should have at most 255 characters"}
	}
	ok := name != ""
	for i, c := range name {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		ok = ok && (alnum || i > 0 && strings.ContainsRune("_.-", c))
	}
	if !ok {
		return &errdef.Error{Kind: errdef.ErrInvalid, Text: fmt.Sprintf("%q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", name)}
	}
	return nil
}

// checkOptions checks the options of the driver local, which are those of
// mount(8). Supported are a folder elsewhere (type=none,o=bind,device=/path),
// which is returned, and memory (type=tmpfs,device=tmpfs,o=size=…).
func checkOptions(opts map[string]string) (link string, err error) {
	bad := func(format string, args ...any) (string, error) {
		return "", &errdef.Error{Kind: errdef.ErrInvalid, Text: fmt.Sprintf(format, args...)}
	}
	if len(opts) == 0 {
		return "", nil
	}
	for key := range opts {
		switch key {
		case "type", "o", "device":
		case "size":
			return bad("quota size requested but no quota support")
		default:
			return bad("invalid option: %q", key)
		}
	}
	for _, key := range []string{"device", "type"} {
		if opts[key] == "" {
			return bad("missing required option: %q", key)
		}
	}
	words := strings.Split(opts["o"], ",")
	switch fstype := opts["type"]; fstype {
	case "tmpfs":
		for _, w := range words {
			if key, _, _ := strings.Cut(w, "="); !slices.Contains(tmpfsWords(), key) {
				return bad("invalid option: %q is no option of a tmpfs volume (%s)", w, strings.Join(tmpfsWords()[1:], ", "))
			}
		}
		return "", nil
	case "none", "bind":
		if !slices.Contains(words, "bind") && !slices.Contains(words, "rbind") {
			return bad("type %s needs the option o=bind", fstype)
		}
		for _, w := range words {
			if w != "bind" && w != "rbind" && w != "rw" && w != "" {
				return bad("invalid option: %q is not supported for a bind volume; say it where the volume is mounted, as in -v name:/path:ro", w)
			}
		}
		if !filepath.IsAbs(opts["device"]) {
			return bad("device %q of a bind volume must be an absolute path", opts["device"])
		}
		return filepath.Clean(opts["device"]), nil
	default:
		return bad("file system type %q is not supported for volumes; mount it on the host and use type=none,o=bind,device=/path, or use tmpfs", fstype)
	}
}

func tmpfsWords() []string {
	return []string{"", "size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "rw", "noexec", "exec", "nosuid", "nodev", "noatime"}
}

// Tmpfs returns the mount options of a volume that lies in memory. Such a
// one is mounted anew for every container; _data stays empty.
func (s *Set) Tmpfs(name string) (options string, ok bool) {
	r, err := s.read(name)
	if err != nil || r.Options["type"] != "tmpfs" {
		return "", false
	}
	return r.Options["o"], true
}

// DropUnused removes those of the volumes that no container uses.
func (s *Set) DropUnused(names []string) error {
	var errs []error
	for _, name := range names {
		gone, err := s.take(name)
		switch {
		case err == nil:
			errs = append(errs, gone.Close())
		case !errors.Is(err, errdef.ErrNotFound) && !errors.Is(err, errdef.ErrConflict):
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// filter compiles filters to one test. Several values of a key are
// alternatives, but labels must all be there.
func (s *Set) filter(filters map[string][]string, known ...string) (func(record) bool, error) {
	for key := range filters {
		if !slices.Contains(known, key) {
			return nil, &errdef.Error{Kind: errdef.ErrInvalid, Text: fmt.Sprintf("invalid filter '%s'", key)}
		}
	}
	var users map[string][]string
	var dangling []bool
	for _, v := range filters["dangling"] {
		if !filter.True(v) && !filter.False(v) {
			return nil, &errdef.Error{Kind: errdef.ErrInvalid, Text: fmt.Sprintf("invalid filter 'dangling=[%s]'", v)}
		}
		dangling = append(dangling, filter.True(v))
	}
	if len(dangling) > 0 {
		var err error
		if users, err = s.users(); err != nil {
			return nil, err
		}
	}
	return func(r record) bool {
		if names := filters["name"]; len(names) > 0 && !slices.ContainsFunc(names, func(n string) bool { return strings.Contains(r.Name, n) }) {
			return false
		}
		if drivers := filters["driver"]; len(drivers) > 0 && !slices.Contains(drivers, Driver) {
			return false
		}
		if len(dangling) > 0 && !slices.Contains(dangling, len(users[r.Name]) == 0) {
			return false
		}
		for _, l := range filters["label"] {
			if !filter.HasLabel(r.Labels, l) {
				return false
			}
		}
		return !slices.ContainsFunc(filters["label!"], func(l string) bool { return filter.HasLabel(r.Labels, l) })
	}, nil
}
