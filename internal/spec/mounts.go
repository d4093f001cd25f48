package spec

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const (
	// aptConfig lies where a container has a folder of its own in any case.
	aptConfig      = "/dev/.apt.conf"
	defaultShmSize = 64 << 20
	cgroupRoot     = "/sys/fs/cgroup"
)

// mounts lists all mounts in the order in which they are made: what every
// container has, then berth's own files and the user's mounts, those nearer to
// the root first. A user's mount replaces a default one at the same place, and
// hides the default ones below it.
func (b *builder) mounts() error {
	if b.sec.writableCgroups != nil && b.in.Host.Rootless {
		return errors.New("option WritableCgroups conflicts with user namespaces and rootless mode")
	}
	user, err := b.userMounts()
	if err != nil {
		return err
	}
	var taken []string
	for _, m := range user {
		taken = append(taken, m.Destination)
	}
	for _, m := range b.defaultMounts() {
		if covered(m.Destination, taken) {
			continue
		}
		b.spec.Mounts = append(b.spec.Mounts, m)
		if m.Destination == cgroupRoot && m.Type == "tmpfs" && !b.writableCgroups() {
			// Not at once: folders have to be made in it.
			b.spec.Linux.ReadonlyPaths = append(b.spec.Linux.ReadonlyPaths, cgroupRoot)
		}
	}
	var late []specs.Mount
	for _, m := range b.fileMounts() {
		if !slices.Contains(taken, m.Destination) {
			late = append(late, m)
		}
	}
	late = append(late, user...)
	slices.SortStableFunc(late, func(x, y specs.Mount) int {
		return cmp.Compare(depth(x.Destination), depth(y.Destination))
	})
	b.spec.Mounts = append(b.spec.Mounts, late...)
	b.propagation()
	for i := range b.spec.Mounts {
		b.closeToDevices(&b.spec.Mounts[i])
	}
	return nil
}

// closeToDevices sets nodev. A container without a device cgroup could
// otherwise reach every device of the host through a folder it was given. The
// pseudo terminals of /dev/pts are the container's own and have to work, and so
// do devices that were asked for.
func (b *builder) closeToDevices(m *specs.Mount) {
	has := func(option string) bool { return slices.Contains(m.Options, option) }
	switch {
	case has(optionDevice):
		m.Options = without(m.Options, []string{optionDevice})
	case b.in.HostConfig.Privileged, m.Type == "devpts", has("nodev"):
	case has("rbind") && b.in.Host.Kernel.AtLeast(5, 12) && m.Destination != "/dev":
		// What lies below the source, such as /dev below /, is closed too.
		// Terminals below a /dev the user brings stay usable.
		m.Options = append(m.Options, "rnodev")
	default:
		m.Options = append(m.Options, "nodev")
	}
}

// optionDevice marks, inside this package, a mount that brings a device.
const optionDevice = "device"

// covered reports whether a mount at dest would lie at or below a taken place.
func covered(dest string, taken []string) bool {
	for _, t := range taken {
		if dest == t || strings.HasPrefix(dest, t+"/") {
			return true
		}
	}
	return false
}

func depth(p string) int { return strings.Count(path.Clean(p), "/") }

// propagation lets the root of the container pass on what the user's mounts
// need: a shared or slave mount needs its parent to be at least as open.
func (b *builder) propagation() {
	for _, m := range b.spec.Mounts {
		for _, o := range m.Options {
			switch o {
			case "shared", "rshared":
				b.spec.Linux.RootfsPropagation = "shared"
			case "slave", "rslave":
				if b.spec.Linux.RootfsPropagation == "" {
					b.spec.Linux.RootfsPropagation = "rslave"
				}
			}
		}
	}
}

// defaultMounts are those every container has.
func (b *builder) defaultMounts() []specs.Mount {
	out := []specs.Mount{b.proc()}
	b.warnCovered()
	out = append(out,
		specs.Mount{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: b.devptsOptions()},
		b.sysfs())
	out = append(out, b.cgroupMounts()...)
	if m, ok := b.mqueue(); ok {
		out = append(out, m)
	}
	if m, ok := b.shm(); ok {
		out = append(out, m)
	}
	if f := b.in.Files.Apt; f != "" {
		out = append(out, specs.Mount{Destination: aptConfig, Type: "bind", Source: f, Options: []string{"bind", "ro", "rprivate"}})
	}
	if b.initProgram() {
		out = append(out, specs.Mount{Destination: initPath, Type: "bind", Source: b.in.Files.Init, Options: []string{"bind", "ro", "rprivate"}})
	}
	return out
}

// warnCovered says what the container around berth takes away.
func (b *builder) warnCovered() {
	h := b.in.Host
	if !h.Rootless || !h.ProcCovered && !h.SysCovered {
		return
	}
	what, shows := "/proc", "processes"
	switch {
	case h.ProcCovered && h.SysCovered:
		what, shows = "/proc and /sys", "processes and devices"
	case h.SysCovered:
		what, shows = "/sys", "devices"
	}
	b.warn("The container around berth hides parts of %s, so this container has the same %s and sees the %s around it; 'berth doctor' tells more.", what, what, shows)
}

// hostProc reports whether the container has the /proc that is around berth: it
// shares its processes, or may have no other.
func (b *builder) hostProc() bool {
	return b.in.Host.Rootless && (b.in.HostConfig.PidMode.IsHost() || b.in.Host.ProcCovered)
}

func (b *builder) proc() specs.Mount {
	if b.hostProc() {
		// A new proc shows the process namespace, which the host owns: the
		// kernel gives none to a user namespace.
		return specs.Mount{Destination: "/proc", Type: "bind", Source: "/proc", Options: []string{"rbind", "nosuid", "noexec", "rprivate"}}
	}
	return specs.Mount{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}}
}

func (b *builder) devptsOptions() []string {
	o := []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
	if _, ok := b.in.Host.IDs.group(5); ok || !b.in.Host.Rootless {
		o = append(o, "gid=5") // the group tty, which has to be mapped
	}
	return o
}

func (b *builder) sysfs() specs.Mount {
	hc := b.in.HostConfig
	if b.in.Host.Rootless && (b.in.Host.SysCovered || !b.separate(specs.NetworkNamespace)) {
		// A new sysfs shows the network namespace, which the host owns.
		o := []string{"rbind", "nosuid", "noexec", "rprivate"}
		if !hc.Privileged {
			o = append(o, b.readOnly(true))
		}
		return specs.Mount{Destination: "/sys", Type: "bind", Source: "/sys", Options: o}
	}
	o := []string{"nosuid", "noexec", "nodev"}
	if !hc.Privileged {
		o = append(o, "ro")
	}
	return specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: o}
}

// readOnly is the option that closes a mount with all below it, or the nearest
// thing the kernel has.
func (b *builder) readOnly(recursive bool) string {
	if recursive && b.in.Host.Kernel.AtLeast(5, 12) {
		return "rro"
	}
	return "ro"
}

// writableCgroups reports whether the container may change its own limits.
func (b *builder) writableCgroups() bool {
	if b.sec.writableCgroups != nil {
		return *b.sec.writableCgroups
	}
	return b.in.HostConfig.Privileged
}

func (b *builder) cgroupMounts() []specs.Mount {
	rw := b.writableCgroups()
	if b.in.Host.CgroupV2 {
		o := []string{"nosuid", "noexec", "nodev"}
		if !rw {
			o = append(o, "ro")
		}
		return []specs.Mount{{Destination: cgroupRoot, Type: "cgroup", Source: "cgroup", Options: o}}
	}
	if len(b.in.CgroupDirs) == 0 {
		return nil
	}
	out := []specs.Mount{{Destination: cgroupRoot, Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "nodev", "mode=755"}}}
	bind := []string{"bind", "nosuid", "noexec", "rprivate"}
	if !rw {
		bind = append(bind, "ro")
	}
	for _, name := range slices.Sorted(maps.Keys(b.in.CgroupDirs)) {
		names := []string{name}
		if strings.Contains(name, ",") {
			// Programs look for each controller of a shared hierarchy.
			names = append(names, strings.Split(name, ",")...)
		}
		for _, n := range names {
			out = append(out, specs.Mount{Destination: cgroupRoot + "/" + n, Type: "bind", Source: b.in.CgroupDirs[name], Options: slices.Clone(bind)})
		}
	}
	return out
}

func (b *builder) mqueue() (specs.Mount, bool) {
	if b.in.Host.Rootless && !b.separate(specs.IPCNamespace) {
		return specs.Mount{Destination: "/dev/mqueue", Type: "bind", Source: "/dev/mqueue", Options: []string{"rbind", "nosuid", "noexec", "rprivate"}}, !b.in.Host.NoMqueue
	}
	return specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}}, true
}

func (b *builder) shm() (specs.Mount, bool) {
	hc := b.in.HostConfig
	source := b.in.Files.Shm
	if hc.IpcMode.IsHost() {
		source = "/dev/shm"
	}
	if source != "" {
		return specs.Mount{Destination: "/dev/shm", Type: "bind", Source: source, Options: []string{"rbind", "nosuid", "noexec", "rprivate"}}, true
	}
	size := hc.ShmSize
	if size == 0 {
		size = defaultShmSize
	}
	o := []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + strconv.FormatInt(size, 10)}
	return specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: o}, !hc.IpcMode.IsNone()
}

// fileMounts are the files berth keeps for a container.
func (b *builder) fileMounts() []specs.Mount {
	f := b.in.Files
	var out []specs.Mount
	for _, m := range []specs.Mount{
		{Source: f.ResolvConf, Destination: "/etc/resolv.conf"},
		{Source: f.Hostname, Destination: "/etc/hostname"},
		{Source: f.Hosts, Destination: "/etc/hosts"},
	} {
		if m.Source == "" {
			continue
		}
		m.Type = "bind"
		m.Options = []string{"bind", "rprivate"}
		if b.in.HostConfig.ReadonlyRootfs {
			m.Options = append(m.Options, "ro")
		}
		out = append(out, m)
	}
	return out
}

// userMounts translates binds, volumes, tmpfs and devices.
func (b *builder) userMounts() ([]specs.Mount, error) {
	var out []specs.Mount
	seen := make(map[string]bool)
	for _, m := range b.in.Mounts {
		dest, err := checkDestination(m.Destination)
		if err != nil {
			return nil, err
		}
		if seen[dest] {
			return nil, fmt.Errorf("Duplicate mount point: %s", dest) // Docker's words
		}
		seen[dest] = true
		var sm specs.Mount
		switch m.Type {
		case "bind":
			sm, err = b.bind(m)
		case "tmpfs":
			sm, err = b.tmpfs(m)
		default:
			err = fmt.Errorf("invalid mount config for type %q: mount type unknown", m.Type)
		}
		if err != nil {
			return nil, err
		}
		sm.Destination = dest
		out = append(out, sm)
	}
	return append(out, b.deviceMounts(seen)...), nil
}

// checkDestination refuses places where nothing can be mounted. A link of the
// image that leads to one of them is the runtime's to notice.
func checkDestination(dest string) (string, error) {
	if !path.IsAbs(dest) {
		return "", fmt.Errorf("invalid mount path: '%s' mount path must be absolute", dest)
	}
	clean := path.Clean(dest)
	switch {
	case clean == "/":
		return "", errors.New("invalid specification: destination can't be '/'")
	case clean == "/proc" || strings.HasPrefix(clean, "/proc/"):
		return "", fmt.Errorf("invalid mount path: '%s': nothing can be mounted at or below /proc", dest)
	}
	return clean, nil
}

func (b *builder) bind(m Mount) (specs.Mount, error) {
	if !path.IsAbs(m.Source) {
		return specs.Mount{}, fmt.Errorf("invalid mount path: '%s' mount path must be absolute", m.Source)
	}
	o := []string{"rbind"}
	if m.NonRecursive {
		o[0] = "bind"
	}
	if m.ReadOnly {
		switch {
		case m.ReadOnlyNonRecursive && m.ReadOnlyForceRecursive:
			return specs.Mount{}, errors.New("mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive")
		case m.ReadOnlyForceRecursive && b.readOnly(true) != "rro":
			return specs.Mount{}, fmt.Errorf("mount %s cannot be read-only with all below it: this kernel is older than 5.12", m.Destination)
		}
		o = append(o, b.readOnly(!m.ReadOnlyNonRecursive))
	}
	switch m.Propagation {
	case "":
		o = append(o, "rprivate")
	case "private", "rprivate", "shared", "rshared", "slave", "rslave":
		o = append(o, m.Propagation)
	default:
		return specs.Mount{}, fmt.Errorf("invalid propagation mode: %s", m.Propagation)
	}
	if b.deviceFolder(m.Source) {
		o = append(o, optionDevice)
	}
	return specs.Mount{Type: "bind", Source: m.Source, Options: o}, nil
}
