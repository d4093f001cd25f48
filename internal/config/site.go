package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	units "github.com/docker/go-units"
)

// Site is what an administrator sets for everybody on a machine. All of it is
// optional, and all of it may stand in an account's own file, too.
type Site struct {
	// NamePattern is what the names of containers look like,
	// "{user}-{name}". The machine's stands, whatever an account's file says.
	NamePattern string
	// ShmSize is the size of /dev/shm in bytes where none is asked for; 0
	// is Docker's 64 MiB.
	ShmSize int64
	// Mounts are mounted into every container, in the words of -v, where ~
	// and {user} stand for the account's home and name.
	Mounts []string
	Limits Limits
	// ImageStores are folders with images that everybody may use, in the
	// order in which they are asked.
	ImageStores []string
	// Private containers are not shown to others by ps --all-users. The key
	// is "publish", which is true where it is missing.
	Private bool
}

// Limits are those of a container that asks for none. Zero sets none.
type Limits struct {
	Memory   int64 // bytes
	NanoCPUs int64
	Pids     int64
	Ulimits  []*units.Ulimit
}

// set gives one key its value, and tells whether it is one of the site's.
func (s *Site) set(key string, raw json.RawMessage) (bool, error) {
	switch key {
	case "name-pattern":
		return true, s.setPattern(key, raw)
	case "shm-size":
		return true, setSize(&s.ShmSize, key, raw)
	case "mounts":
		return true, s.setMounts(key, raw)
	case "limits":
		return true, s.Limits.set(key, raw)
	case "image-stores":
		return true, s.setStores(key, raw)
	case "publish":
		publish := true
		err := decodeValue(&publish, key, raw, "true or false")
		s.Private = !publish
		return true, err
	}
	return false, nil
}

func (s *Site) setPattern(key string, raw json.RawMessage) error {
	var p string
	if err := decodeValue(&p, key, raw, `a string, as in "{user}-{name}"`); err != nil {
		return err
	}
	if p != "" && strings.Count(p, "{name}") != 1 {
		return fmt.Errorf("%s: %q must have {name} in it, once", key, p)
	}
	rest := strings.NewReplacer("{user}", "u", "{name}", "n").Replace(p)
	for i, c := range rest {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("_.-", c)) {
			return fmt.Errorf("%s: %q may have only {user}, {name} and [a-zA-Z0-9_.-] in it, and must begin with a letter, a digit or one of the two", key, p)
		}
	}
	s.NamePattern = p
	return nil
}

func (s *Site) setMounts(key string, raw json.RawMessage) error {
	var list []string
	if err := decodeValue(&list, key, raw, `a list of mounts as -v takes them, as in ["/srv/models:/models:ro"]`); err != nil {
		return err
	}
	for _, m := range list {
		parts := strings.Split(m, ":")
		if len(parts) < 2 || len(parts) > 3 || !filepath.IsAbs(parts[1]) {
			return fmt.Errorf("%s: %q is not source:destination[:options] with an absolute destination", key, m)
		}
		if src := parts[0]; !filepath.IsAbs(src) && src != "~" && !strings.HasPrefix(src, "~/") {
			return fmt.Errorf("%s: the source in %q must begin with / or ~", key, m)
		}
	}
	s.Mounts = list
	return nil
}

func (s *Site) setStores(key string, raw json.RawMessage) error {
	var list []string
	if err := decodeValue(&list, key, raw, `a list of folders, as in ["/srv/berth"]`); err != nil {
		return err
	}
	for _, dir := range list {
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("%s: %q must be an absolute path", key, dir)
		}
	}
	s.ImageStores = list
	return nil
}

func (l *Limits) set(key string, raw json.RawMessage) error {
	var values map[string]json.RawMessage
	if err := decodeValue(&values, key, raw, `an object, as in {"memory": "8g", "cpus": 4, "pids-limit": 4096, "ulimits": ["nofile=4096"]}`); err != nil {
		return err
	}
	*l = Limits{}
	for name, value := range values {
		if err := l.setOne(key+"."+name, name, value); err != nil {
			return err
		}
	}
	return nil
}

func (l *Limits) setOne(key, name string, raw json.RawMessage) error {
	switch name {
	case "memory":
		return setSize(&l.Memory, key, raw)
	case "cpus":
		var n float64
		if err := decodeValue(&n, key, raw, "a number of processors, as in 1.5"); err != nil {
			return err
		}
		if !(n > 0 && n < 1<<20) {
			return fmt.Errorf("%s must be a number of processors, as in 1.5", key)
		}
		l.NanoCPUs = int64(n * 1e9)
		return nil
	case "pids-limit":
		if err := decodeValue(&l.Pids, key, raw, "a whole number"); err != nil {
			return err
		}
		if l.Pids <= 0 {
			return fmt.Errorf("%s must be more than 0", key)
		}
		return nil
	case "ulimits":
		return l.setUlimits(key, raw)
	}
	return fmt.Errorf("unknown key %q (known: memory, cpus, pids-limit, ulimits)", key)
}

func (l *Limits) setUlimits(key string, raw json.RawMessage) error {
	var list []string
	if err := decodeValue(&list, key, raw, `a list as --ulimit takes them, as in ["nofile=1024:4096"]`); err != nil {
		return err
	}
	for _, text := range list {
		u, err := units.ParseUlimit(text)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		l.Ulimits = append(l.Ulimits, u)
	}
	return nil
}

// setSize reads a number of bytes, or a text such as "8g".
func setSize(dst *int64, key string, raw json.RawMessage) error {
	bad := errors.New(key + ` must be a size, as in "8g"`)
	text := strings.TrimSpace(string(raw))
	if strings.HasPrefix(text, `"`) && json.Unmarshal(raw, &text) != nil {
		return bad
	}
	n, err := units.RAMInBytes(text)
	if err != nil || n <= 0 {
		return bad
	}
	*dst = n
	return nil
}
