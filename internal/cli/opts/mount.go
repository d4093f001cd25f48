package opts

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/mount"
)

// mountsValue collects --mount values.
type mountsValue struct{ mounts []mount.Mount }

func (m *mountsValue) Set(s string) error {
	one, err := parseMount(s)
	if err == nil {
		m.mounts = append(m.mounts, one)
	}
	return err
}

func (m *mountsValue) String() string { return "" }
func (m *mountsValue) Type() string   { return "mount" }

// parseMount reads type=bind,source=/a,target=/b,… as a line of CSV, so that a
// value with a comma can be quoted.
func parseMount(s string) (mount.Mount, error) {
	var zero mount.Mount
	if strings.TrimSpace(s) == "" {
		return zero, errors.New("value is empty")
	}
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return zero, err
	}
	p := mountParser{Mount: mount.Mount{Type: mount.TypeVolume}}
	for _, f := range fields {
		if err := p.field(f); err != nil {
			return zero, err
		}
	}
	return p.finish()
}

// mountParser is a mount while its fields are read. The options of all types
// are collected first; which of them fit is known only at the end, because
// type= may come last.
type mountParser struct {
	mount.Mount
	bind   mount.BindOptions
	volume mount.VolumeOptions
	image  mount.ImageOptions
	tmpfs  mount.TmpfsOptions
	used   [4]bool // options of bind, volume, image, tmpfs were given
	driver mount.Driver
}

// field reads one key=value or key.
func (p *mountParser) field(f string) error {
	key, value, hasValue := strings.Cut(f, "=")
	key = strings.ToLower(key)
	if !hasValue {
		switch key {
		case "readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src":
			value = "true"
		default:
			return fmt.Errorf("invalid field '%s' must be a key=value pair", f)
		}
	}
	switch key {
	case "type":
		p.Type = mount.Type(strings.ToLower(value))
	case "source", "src":
		p.Source = value
	case "target", "dst", "destination":
		p.Target = value
	case "readonly", "ro":
		return setBool(&p.ReadOnly, key, value)
	case "consistency":
		p.Consistency = mount.Consistency(strings.ToLower(value))
	default:
		return p.typeField(key, value, f)
	}
	return nil
}

func (p *mountParser) typeField(key, value, whole string) error {
	kind, option, _ := strings.Cut(key, "-")
	known := false
	var err error
	switch kind {
	case "bind":
		p.used[0] = true
		known, err = p.bindField(option, key, value)
	case "volume":
		p.used[1] = true
		known, err = p.volumeField(option, key, value)
	case "image":
		p.used[2] = true
		known = option == "subpath"
		p.image.Subpath = value
	case "tmpfs":
		p.used[3] = true
		known, err = p.tmpfsField(option, key, value)
	}
	if !known {
		return fmt.Errorf("unexpected key '%s' in '%s'", key, whole)
	}
	return err
}

func (p *mountParser) bindField(option, key, value string) (known bool, err error) {
	switch option {
	case "propagation":
		p.bind.Propagation = mount.Propagation(strings.ToLower(value))
		switch p.bind.Propagation {
		case mount.PropagationPrivate, mount.PropagationRPrivate, mount.PropagationShared,
			mount.PropagationRShared, mount.PropagationSlave, mount.PropagationRSlave:
		default:
			err = fmt.Errorf("invalid propagation mode: %s", value)
		}
	case "nonrecursive":
		err = setBool(&p.bind.NonRecursive, key, value)
	case "create-src":
		err = setBool(&p.bind.CreateMountpoint, key, value)
	case "recursive":
		switch strings.ToLower(value) {
		case "enabled":
		case "disabled":
			p.bind.NonRecursive = true
		case "writable":
			p.bind.ReadOnlyNonRecursive = true
		case "readonly":
			p.bind.ReadOnlyForceRecursive = true
		default:
			err = fmt.Errorf("invalid value for %s: %s (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")", key, value)
		}
	default:
		return false, nil
	}
	return true, err
}

func (p *mountParser) volumeField(option, key, value string) (known bool, err error) {
	name, v, _ := strings.Cut(value, "=")
	switch option {
	case "subpath":
		p.volume.Subpath = value
	case "nocopy":
		err = setBool(&p.volume.NoCopy, key, value)
	case "label":
		if p.volume.Labels == nil {
			p.volume.Labels = map[string]string{}
		}
		p.volume.Labels[name] = v
	case "driver":
		p.driver.Name = value
		p.volume.DriverConfig = &p.driver
	case "opt":
		if p.driver.Options == nil {
			p.driver.Options = map[string]string{}
		}
		p.driver.Options[name] = v
		p.volume.DriverConfig = &p.driver
	default:
		return false, nil
	}
	return true, err
}

func (p *mountParser) tmpfsField(option, key, value string) (known bool, err error) {
	switch option {
	case "size":
		p.tmpfs.SizeBytes, err = units.RAMInBytes(value)
	case "mode":
		var mode uint64
		mode, err = strconv.ParseUint(value, 8, 32)
		p.tmpfs.Mode = os.FileMode(mode)
	default:
		return false, nil
	}
	if err != nil {
		err = fmt.Errorf("invalid value for %s: %s", key, value)
	}
	return true, err
}

// finish checks that the options fit the type and each other.
func (p *mountParser) finish() (mount.Mount, error) {
	m := p.Mount
	kinds := [4]mount.Type{mount.TypeBind, mount.TypeVolume, mount.TypeImage, mount.TypeTmpfs}
	for i, k := range kinds {
		if p.used[i] && m.Type != k {
			return m, fmt.Errorf("cannot mix '%s-*' options with mount type '%s'", k, m.Type)
		}
	}
	if m.Target == "" {
		return m, errors.New("target is required")
	}
	switch m.Type {
	case mount.TypeBind:
		return p.finishBind(m)
	case mount.TypeVolume:
		if p.used[1] {
			m.VolumeOptions = &p.volume
		}
		return m, checkVolumeName(m.Source)
	case mount.TypeImage:
		if p.used[2] {
			m.ImageOptions = &p.image
		}
	case mount.TypeTmpfs:
		if p.used[3] {
			m.TmpfsOptions = &p.tmpfs
		}
	default:
		return m, fmt.Errorf("invalid mount config for type \"%s\": mount type unknown", m.Type)
	}
	return m, nil
}

func (p *mountParser) finishBind(m mount.Mount) (mount.Mount, error) {
	if m.Source == "" {
		return m, errors.New("invalid mount config for type \"bind\": field Source must not be empty")
	}
	if strings.HasPrefix(m.Source, ".") {
		abs, err := filepath.Abs(m.Source)
		if err != nil {
			return m, err
		}
		m.Source = abs
	}
	if !filepath.IsAbs(m.Source) {
		return m, fmt.Errorf("invalid mount config for type \"bind\": invalid mount path: '%s' mount path must be absolute", m.Source)
	}
	if p.bind == (mount.BindOptions{}) {
		return m, nil
	}
	m.BindOptions = &p.bind
	if p.bind.ReadOnlyNonRecursive && !m.ReadOnly {
		return m, errors.New("option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction")
	}
	if p.bind.ReadOnlyForceRecursive {
		if !m.ReadOnly {
			return m, errors.New("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction")
		}
		if p.bind.Propagation != mount.PropagationRPrivate {
			return m, errors.New("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction")
		}
	}
	return m, nil
}

func setBool(dst *bool, key, value string) error {
	b, err := strconv.ParseBool(value)
	if err != nil {
		return fmt.Errorf("invalid value for %s: %s", key, value)
	}
	*dst = b
	return nil
}
