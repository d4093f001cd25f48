package spec

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// devices says which devices the container may use. Which of it a machine can
// enforce is the cgroup's matter; nodes are closed off by nodev in any case.
func (b *builder) devices() error {
	hc := b.in.HostConfig
	res := &specs.LinuxResources{}
	b.spec.Linux.Resources = res
	if hc.Privileged {
		res.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		b.spec.Linux.Devices = b.privilegedDevices()
		return nil
	}
	res.Devices = defaultDeviceRules()
	for _, d := range b.in.Devices {
		access := d.Permissions
		if access == "" {
			access = "rwm"
		}
		res.Devices = append(res.Devices, specs.LinuxDeviceCgroup{
			Allow: true, Type: d.Type, Major: &d.Major, Minor: &d.Minor, Access: access,
		})
	}
	for _, rule := range hc.DeviceCgroupRules {
		r, err := parseDeviceRule(rule)
		if err != nil {
			return err
		}
		res.Devices = append(res.Devices, r)
	}
	if len(hc.DeviceCgroupRules) > 0 {
		b.warn("Device cgroup rules open devices that are mounted from /dev. Nodes made by mknod in the container stay closed.")
	}
	return nil
}

// privilegedDevices are all devices of the host, without those the container
// has of its own: terminals, and whatever a mount of the user's covers.
func (b *builder) privilegedDevices() []specs.LinuxDevice {
	var taken []string
	for _, m := range b.spec.Mounts {
		if m.Destination != "/dev" || m.Type == "bind" {
			taken = append(taken, m.Destination)
		}
	}
	var out []specs.LinuxDevice
	for _, d := range b.in.HostDevices {
		switch {
		case d.Path == "/dev/ptmx", d.Path == "/dev/console", covered(d.Path, taken):
		default:
			out = append(out, d)
		}
	}
	return out
}

// deviceMounts binds the devices that --device asks for. A mount of the user's
// at the same place wins.
func (b *builder) deviceMounts(seen map[string]bool) []specs.Mount {
	var out []specs.Mount
	for _, d := range b.in.Devices {
		dest := path.Clean(d.Path)
		if seen[dest] || b.in.HostConfig.Privileged && dest == d.Source {
			continue
		}
		seen[dest] = true
		out = append(out, specs.Mount{
			Destination: dest, Type: "bind", Source: d.Source,
			Options: []string{"bind", "nosuid", "noexec", "rprivate", optionDevice},
		})
	}
	return out
}

// deviceFolder reports whether the user mounts something of the host's /dev
// and has said by rules of the device cgroup which devices are meant.
func (b *builder) deviceFolder(source string) bool {
	source = path.Clean(source)
	return len(b.in.HostConfig.DeviceCgroupRules) > 0 && (source == "/dev" || strings.HasPrefix(source, "/dev/"))
}

// defaultDeviceRules opens the devices every container has, and terminals.
// Making a node is open as well: it opens nothing by itself.
func defaultDeviceRules() []specs.LinuxDeviceCgroup {
	all := int64(-1)
	char := func(major, minor int64) specs.LinuxDeviceCgroup {
		return specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &major, Minor: &minor, Access: "rwm"}
	}
	return []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		{Allow: true, Type: "c", Major: &all, Minor: &all, Access: "m"},
		{Allow: true, Type: "b", Major: &all, Minor: &all, Access: "m"},
		char(1, 3),    // null
		char(1, 5),    // zero
		char(1, 7),    // full
		char(1, 8),    // random
		char(1, 9),    // urandom
		char(5, 0),    // tty
		char(5, 1),    // console
		char(5, 2),    // ptmx
		char(136, -1), // pts
	}
}

// parseDeviceRule reads a rule of --device-cgroup-rule, "c 10:* rwm".
func parseDeviceRule(rule string) (specs.LinuxDeviceCgroup, error) {
	bad := fmt.Errorf("invalid device cgroup rule format: '%s'", rule)
	f := strings.Split(rule, " ")
	if len(f) != 3 || f[0] != "a" && f[0] != "b" && f[0] != "c" || !validAccess(f[2]) {
		return specs.LinuxDeviceCgroup{}, bad
	}
	major, minor, ok := strings.Cut(f[1], ":")
	ma, errMajor := deviceNumber(major)
	mi, errMinor := deviceNumber(minor)
	if !ok || errMajor != nil || errMinor != nil {
		return specs.LinuxDeviceCgroup{}, bad
	}
	return specs.LinuxDeviceCgroup{Allow: true, Type: f[0], Major: &ma, Minor: &mi, Access: f[2]}, nil
}

func deviceNumber(s string) (int64, error) {
	if s == "*" {
		return -1, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return int64(n), err
}

// validAccess checks letters of device access: r, w and m, each at most once.
func validAccess(s string) bool {
	for i, c := range s {
		if !strings.ContainsRune("rwm", c) || strings.ContainsRune(s[:i], c) {
			return false
		}
	}
	return s != ""
}
