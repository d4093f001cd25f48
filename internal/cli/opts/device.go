package opts

import (
	"fmt"
	"path"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// parseDevice reads HOST[:CONTAINER][:PERMISSIONS].
func parseDevice(s string) (container.DeviceMapping, error) {
	parts := strings.Split(s, ":")
	d := container.DeviceMapping{PathOnHost: parts[0], CgroupPermissions: "rwm"}
	switch len(parts) {
	case 1:
	case 2:
		if validPermissions(parts[1]) {
			d.CgroupPermissions = parts[1]
		} else {
			d.PathInContainer = parts[1]
		}
	case 3:
		d.PathInContainer, d.CgroupPermissions = parts[1], parts[2]
		if !validPermissions(d.CgroupPermissions) {
			return d, fmt.Errorf("bad mode specified: %s", d.CgroupPermissions)
		}
	default:
		return d, fmt.Errorf("bad format for path: %s", s)
	}
	if d.PathOnHost == "" {
		return d, fmt.Errorf("bad format for path: %s", s)
	}
	if d.PathInContainer == "" {
		d.PathInContainer = d.PathOnHost
	}
	for _, p := range []string{d.PathInContainer, d.PathOnHost} {
		if !path.IsAbs(p) {
			return d, fmt.Errorf("%s is not an absolute path", p)
		}
	}
	return d, nil
}

// validPermissions accepts r, w and m, each at most once.
func validPermissions(s string) bool {
	for i, c := range s {
		if !strings.ContainsRune("rwm", c) || strings.ContainsRune(s[:i], c) {
			return false
		}
	}
	return s != ""
}

// checkDeviceRule accepts TYPE MAJOR:MINOR PERMISSIONS, as in "c 195:* rwm".
func checkDeviceRule(s string) (string, error) {
	wrong := fmt.Errorf("invalid device cgroup format '%s'", s)
	words := strings.Split(s, " ")
	if len(words) != 3 || !strings.Contains("acb", words[0]) || len(words[0]) != 1 || len(words[2]) > 3 {
		return "", wrong
	}
	major, minor, ok := strings.Cut(words[1], ":")
	if !ok || !isNumberOrStar(major) || !isNumberOrStar(minor) || !validPermissions(words[2]) {
		return "", wrong
	}
	return s, nil
}

func isNumberOrStar(s string) bool {
	if s == "*" {
		return true
	}
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// isCDI tells the name of a device that a vendor describes (vendor.com/class=name)
// from a path.
func isCDI(s string) bool {
	kind, name, ok := strings.Cut(s, "=")
	return ok && name != "" && !strings.HasPrefix(kind, "/") && strings.Contains(kind, "/")
}
