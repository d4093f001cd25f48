package spec

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Build translates a container. The warnings are sentences for the person who
// asked for it. It takes for granted that [Validate] found nothing, and that
// the engine has settled the network mode: host, none or container:ID.
func Build(in Input) (*specs.Spec, []string, error) {
	b, err := newBuilder(&in)
	if err != nil {
		return nil, nil, err
	}
	for _, step := range []func() error{
		b.namespaces, // first: others ask which namespaces are the container's own
		b.process,
		b.mounts,
		b.paths,
		b.devices,
		b.resources,
		b.sysctls,
		b.annotations,
	} {
		if err := step(); err != nil {
			return nil, nil, err
		}
	}
	return b.spec, b.warnings, nil
}

// builder is a specification half made.
type builder struct {
	in       *Input
	sec      security
	spec     *specs.Spec
	own      map[specs.LinuxNamespaceType]bool // namespaces made for this container
	warnings []string
}

func newBuilder(in *Input) (*builder, error) {
	if in.Config == nil || in.HostConfig == nil {
		return nil, errors.New("a container needs a configuration")
	}
	sec, err := parseSecurity(in.HostConfig)
	if err != nil {
		return nil, err
	}
	return &builder{
		in:  in,
		sec: sec,
		own: make(map[specs.LinuxNamespaceType]bool),
		spec: &specs.Spec{
			Version: specs.Version,
			Root:    &specs.Root{Path: in.Rootfs, Readonly: in.HostConfig.ReadonlyRootfs},
			Linux:   &specs.Linux{CgroupsPath: in.CgroupsPath},
		},
	}, nil
}

func (b *builder) warn(format string, args ...any) {
	b.warnings = append(b.warnings, fmt.Sprintf(format, args...))
}

// paths hides and protects what the kernel shows in /proc and /sys but no
// container should read or change.
func (b *builder) paths() error {
	hc := b.in.HostConfig
	if hc.Privileged || b.sec.openPaths {
		return nil
	}
	masked, readonly := hc.MaskedPaths, hc.ReadonlyPaths
	if masked == nil {
		masked = append(defaultMaskedPaths(), b.in.Host.Masked...)
	}
	if readonly == nil {
		readonly = defaultReadonlyPaths()
		if b.hostProc() {
			// The host's own /proc is bound there. A user namespace may
			// not cut pieces out of it, and root of one owns none of it.
			readonly = nil
		}
	}
	b.spec.Linux.MaskedPaths = masked
	b.spec.Linux.ReadonlyPaths = append(b.spec.Linux.ReadonlyPaths, readonly...)
	return nil
}

func defaultMaskedPaths() []string {
	return []string{
		"/proc/acpi",
		"/proc/asound",
		"/proc/interrupts",
		"/proc/kcore",
		"/proc/keys",
		"/proc/latency_stats",
		"/proc/sched_debug",
		"/proc/scsi",
		"/proc/timer_list",
		"/proc/timer_stats",
		"/sys/devices/virtual/powercap",
		"/sys/firmware",
	}
}

func defaultReadonlyPaths() []string {
	return []string{
		"/proc/bus",
		"/proc/fs",
		"/proc/irq",
		"/proc/sys",
		"/proc/sysrq-trigger",
	}
}

func (b *builder) annotations() error {
	a := maps.Clone(b.in.HostConfig.Annotations)
	for key := range a {
		if key == "" {
			return errors.New("invalid Annotations: the empty string is not permitted as an annotation key")
		}
		if strings.HasPrefix(key, annotationPrefix) {
			return fmt.Errorf("invalid annotation %q: names beginning with %q are berth's own", key, annotationPrefix)
		}
	}
	if !b.in.HostConfig.Privileged {
		if a == nil {
			a = make(map[string]string, 1)
		}
		a[AnnotationRootOptions] = "nodev"
	}
	b.spec.Annotations = a
	return nil
}
