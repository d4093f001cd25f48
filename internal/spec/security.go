package spec

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/internal/seccomp"
)

// security is what --security-opt says.
type security struct {
	seccomp         string // "" is the default
	apparmor        string
	labels          []string // SELinux
	noNewPrivileges bool
	openPaths       bool // no masked and no read-only paths
	writableCgroups *bool
}

func parseSecurity(hc *container.HostConfig) (security, error) {
	var s security
	for _, opt := range hc.SecurityOpt {
		if err := s.set(opt); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *security) set(opt string) error {
	yes := true
	switch opt {
	case "no-new-privileges":
		s.noNewPrivileges = true
		return nil
	case "writable-cgroups":
		s.writableCgroups = &yes
		return nil
	case "disable":
		s.labels = append(s.labels, "disable")
		return nil
	}
	key, val, ok := strings.Cut(opt, "=")
	if !ok {
		key, val, ok = strings.Cut(opt, ":") // the form of old times
	}
	if !ok {
		return fmt.Errorf("invalid --security-opt: %q", opt)
	}
	var err error
	switch key {
	case "seccomp":
		s.seccomp = val
	case "apparmor":
		s.apparmor = val
	case "label":
		err = checkLabel(val)
		s.labels = append(s.labels, val)
	case "no-new-privileges":
		s.noNewPrivileges, err = strconv.ParseBool(val)
	case "writable-cgroups":
		yes, err = strconv.ParseBool(val)
		s.writableCgroups = &yes
	case "systempaths":
		if val != "unconfined" {
			err = errors.New("unknown value")
		}
		s.openPaths = true
	default:
		err = errors.New("unknown key")
	}
	if err != nil {
		return fmt.Errorf("invalid --security-opt: %q", opt)
	}
	return nil
}

func checkLabel(val string) error {
	if val == labelDisable {
		return nil
	}
	// A label is four parts with colons between them, and only the last, the
	// level, may hold one itself. It ends up among mount options, in quotes.
	switch key, rest, ok := strings.Cut(val, ":"); {
	case strings.ContainsAny(rest, "\"\\ \n\x00") || rest == "" || key != "level" && strings.Contains(rest, ":"):
	case ok && (key == "user" || key == "role" || key == "type" || key == "level" || key == "filetype"):
		return nil
	}
	return errors.New("bad label")
}

// Answers of [SeccompProfile] that are not a profile's text.
const (
	SeccompUnconfined = "unconfined"
	SeccompDefault    = "builtin"
)

// SeccompProfile says which filter for system calls a container gets:
// [SeccompUnconfined], [SeccompDefault] or the JSON text of a profile.
func SeccompProfile(hc *container.HostConfig, host Host) (string, error) {
	sec, err := parseSecurity(hc)
	if err != nil {
		return "", err
	}
	custom := sec.seccomp != "" && sec.seccomp != SeccompDefault && sec.seccomp != SeccompUnconfined
	switch {
	case custom && !strings.HasPrefix(strings.TrimLeft(sec.seccomp, " \t\r\n"), "{"):
		return "", errors.New("decoding seccomp profile failed: it is not a JSON object")
	case custom && host.NoSeccomp:
		return "", errors.New("seccomp is not enabled in your kernel, cannot run a custom seccomp profile")
	case custom:
		return sec.seccomp, nil
	case sec.seccomp == SeccompUnconfined, host.NoSeccomp, hc.Privileged:
		return SeccompUnconfined, nil
	}
	return SeccompDefault, nil
}

// SeccompSection is the filter of [SeccompProfile] as a section of the
// specification, for a runtime that compiles it; nil for none.
func SeccompSection(hc *container.HostConfig, p *specs.Process, host Host) (*specs.LinuxSeccomp, error) {
	text, err := SeccompProfile(hc, host)
	if err != nil {
		return nil, err
	}
	profile := seccomp.DefaultProfile()
	switch text {
	case SeccompUnconfined:
		return nil, nil
	case SeccompDefault:
	default:
		if profile, err = seccomp.Parse([]byte(text)); err != nil {
			return nil, err
		}
	}
	var caps []string
	if p.Capabilities != nil {
		caps = p.Capabilities.Bounding
	}
	return profile.OCI(host.Arch, caps, seccomp.Kernel{Major: host.Kernel.Major, Minor: host.Kernel.Minor}), nil
}
