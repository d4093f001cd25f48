package spec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/internal/sys"
)

// defaultCaps are the capabilities a container has when nobody says anything.
func defaultCaps() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD",
		"CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP",
		"CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
}

// Capabilities returns the capabilities a container may have, those of its
// bounding set.
func Capabilities(hc *container.HostConfig, host Host) ([]string, error) {
	if hc.Privileged {
		return host.allCaps(), nil
	}
	add, err := normalizeCaps(hc.CapAdd)
	if err != nil {
		return nil, fmt.Errorf("invalid CapAdd: %w", err)
	}
	drop, err := normalizeCaps(hc.CapDrop)
	if err != nil {
		return nil, fmt.Errorf("invalid CapDrop: %w", err)
	}
	for _, c := range add {
		if c != "ALL" && !host.has(c) {
			return nil, fmt.Errorf("invalid CapAdd: capability not supported by your kernel or not available in the current environment: %q", c)
		}
	}
	var caps []string
	switch {
	case slices.Contains(add, "ALL"):
		caps = without(host.allCaps(), drop)
	case slices.Contains(drop, "ALL"):
		caps = add
	default:
		caps = append(without(host.available(defaultCaps()), drop), add...)
	}
	return dedup(caps), nil
}

// normalizeCaps brings names to the kernel's form; the word ALL stays.
func normalizeCaps(names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		c := strings.ToUpper(name)
		if c != "ALL" {
			if !strings.HasPrefix(c, "CAP_") {
				c = "CAP_" + c
			}
			if !slices.Contains(sys.Capabilities(), c) {
				return nil, fmt.Errorf("unknown capability: %q", c)
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// has reports whether this process can give the capability away.
func (h Host) has(name string) bool {
	n := slices.Index(sys.Capabilities(), name)
	if n < 0 || h.LastCap > 0 && n > h.LastCap {
		return false
	}
	return h.Bounding == 0 || h.Bounding&(1<<n) != 0
}

func (h Host) allCaps() []string { return h.available(sys.Capabilities()) }

func (h Host) available(caps []string) []string {
	var out []string
	for _, c := range caps {
		if h.has(c) {
			out = append(out, c)
		}
	}
	return out
}

// without returns the elements of list that are not in drop.
func without(list, drop []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(drop, s) {
			out = append(out, s)
		}
	}
	return out
}

// dedup keeps the first of equal elements.
func dedup(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// processCaps gives a user the capabilities it starts with. Inheritable and
// ambient sets stay empty: with them an ordinary user of the container would
// keep capabilities across execve. Anybody but root has none from the start,
// only the bound of what a set-user-ID program may give back.
func processCaps(caps []string, user specs.User) *specs.LinuxCapabilities {
	c := &specs.LinuxCapabilities{Bounding: caps}
	if user.UID == 0 {
		c.Effective = slices.Clone(caps)
		c.Permitted = slices.Clone(caps)
	}
	return c
}
