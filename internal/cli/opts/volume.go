package opts

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
)

// volume is one -v value taken apart.
type volume struct {
	source string // host path or volume name; empty for an anonymous volume
	target string
	mode   string
}

// bind writes the volume the way HostConfig.Binds holds it.
func (v volume) bind() string {
	s := v.source + ":" + v.target
	if v.mode != "" {
		s += ":" + v.mode
	}
	return s
}

// parseVolume reads [SOURCE:]TARGET[:MODE]. A source that starts with a dot
// is a folder relative to the current one; any other word without a leading
// slash names a volume.
func parseVolume(spec string) (volume, error) {
	if spec == "" {
		return volume{}, errors.New("invalid empty volume spec")
	}
	parts := strings.Split(spec, ":")
	if len(parts) > 3 {
		return volume{}, fmt.Errorf("invalid spec: %s: too many colons", spec)
	}
	for _, p := range parts {
		if p == "" {
			return volume{}, fmt.Errorf("invalid spec: %s: empty section between colons", spec)
		}
	}
	v := volume{target: parts[0]}
	if len(parts) > 1 {
		v.source, v.target = parts[0], parts[1]
	}
	if len(parts) > 2 {
		v.mode = parts[2]
	}
	if len(parts) == 2 && validMode(v.target, isPath(v.source)) {
		return volume{}, fmt.Errorf("invalid volume specification: '%s'", spec)
	}
	return v.complete(spec)
}

// complete checks the parts and makes a relative source absolute.
func (v volume) complete(spec string) (volume, error) {
	kind := "volume"
	if isPath(v.source) {
		kind = "bind"
	}
	wrong := func(format string, args ...any) (volume, error) {
		return volume{}, fmt.Errorf("invalid volume specification: '%s': "+format, append([]any{spec}, args...)...)
	}
	if !path.IsAbs(v.target) {
		return wrong("invalid mount config for type \"%s\": invalid mount path: '%s' mount path must be absolute", kind, v.target)
	}
	if path.Clean(v.target) == "/" {
		return wrong("invalid mount config for type \"%s\": invalid specification: destination can't be '/'", kind)
	}
	if v.mode != "" && !validMode(v.mode, kind == "bind") {
		return wrong("invalid mode: %s", v.mode)
	}
	if kind == "bind" {
		abs, err := filepath.Abs(v.source)
		v.source = abs
		return v, err
	}
	return v, checkVolumeName(v.source)
}

// isPath tells a host folder from the name of a volume.
func isPath(source string) bool {
	return strings.HasPrefix(source, "/") || strings.HasPrefix(source, ".")
}

// checkVolumeName accepts what may name a volume; empty means anonymous.
func checkVolumeName(name string) error {
	if name == "" {
		return nil
	}
	if strings.HasPrefix(name, "~") {
		return fmt.Errorf("the shell has not expanded %q: write \"$HOME%s\", or leave the quotes away", name, name[1:])
	}
	if len(name) == 1 {
		return errors.New("volume name is too short, names should be at least two alphanumeric characters")
	}
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("_.-", rune(c))) {
			return fmt.Errorf("%q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", name)
		}
	}
	return nil
}

// validMode accepts a comma-separated list with at most one word of a kind.
func validMode(mode string, bind bool) bool {
	seen := map[string]bool{}
	for _, word := range strings.Split(mode, ",") {
		kind := ""
		switch word {
		case "rw", "ro":
			kind = "access"
		case "z", "Z":
			kind = "label"
		case "nocopy":
			if !bind {
				kind = "copy"
			}
		case "rprivate", "private", "rslave", "slave", "rshared", "shared":
			if bind {
				kind = "propagation"
			}
		case "consistent", "cached", "delegated", "default":
			kind = "consistency"
		}
		if kind == "" || seen[kind] {
			return false
		}
		seen[kind] = true
	}
	return true
}
