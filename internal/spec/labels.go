package spec

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// SELinux holds the labels, "user:role:type:level", that the machine's policy
// has for containers. Empty ones say that SELinux is off.
type SELinux struct {
	Process string
	File    string
}

// Categories tell containers apart in their levels. The last two are those of
// containers without a label, so that no other may read their files.
const (
	categories       = 1022
	openCategories   = "c1022,c1023"
	labelParts       = 4
	labelDisable     = "disable"
	labelFileType    = "filetype"
	labelOptionError = `Bad label option %q, valid options "disable" or "user, role, level, type, filetype" followed by ":" and a value`
)

// Labels returns the SELinux labels of a container, for its processes and for
// its files; empty where there are none. The categories follow from the
// container's ID: every start and every exec comes to the same, and nothing has
// to be kept. Two of a thousand containers that share a pair by chance are as
// far apart as containers are without SELinux.
func Labels(in Input) (process, file string, err error) {
	sec, err := parseSecurity(in.HostConfig)
	if err != nil || in.Host.SELinux.Process == "" {
		return "", "", err
	}
	hc := in.HostConfig
	p, f := split(in.Host.SELinux.Process), split(in.Host.SELinux.File)
	if p == nil || f == nil {
		return "", "", fmt.Errorf("the SELinux policy of this machine has a label without four parts: %q, %q", in.Host.SELinux.Process, in.Host.SELinux.File)
	}
	disabled := slices.Contains(sec.labels, labelDisable)
	if len(sec.labels) == 0 {
		// Whoever shares the host's processes or memory is meant to reach them.
		disabled = hc.Privileged || hc.IpcMode.IsHost() || hc.PidMode.IsHost()
	}
	if disabled {
		f[3] = "s0:" + openCategories
		return "", strings.Join(f, ":"), nil // the process has what its caller's becomes by policy
	}
	level := strings.SplitN(p[3], ":", 2)[0] + ":" + ownCategories(in.ID)
	p[3], f[3] = level, level
	for _, opt := range sec.labels {
		key, val, _ := strings.Cut(opt, ":")
		part := slices.Index([]string{"user", "role", "type", "level"}, key)
		switch {
		case key == labelFileType:
			f[2] = val
		case part < 0:
			return "", "", fmt.Errorf(labelOptionError, opt)
		default:
			p[part] = val
			if key == "user" || key == "level" {
				f[part] = val
			}
		}
	}
	return strings.Join(p, ":"), strings.Join(f, ":"), nil
}

// split takes a label apart; its level may hold colons itself.
func split(label string) []string {
	parts := strings.SplitN(label, ":", labelParts)
	if len(parts) != labelParts {
		return nil
	}
	return parts
}

// ownCategories picks two different ones, the lower first.
func ownCategories(id string) string {
	sum := sha256.Sum256([]byte(id))
	n := binary.BigEndian.Uint64(sum[:]) % (categories * (categories - 1))
	a, b := n/(categories-1), n%(categories-1)
	if b >= a {
		b++ // every other one
	}
	return fmt.Sprintf("c%d,c%d", min(a, b), max(a, b))
}

// SharedLabel is the label of files that all containers may use: one without
// categories.
func SharedLabel(file string) string {
	parts := split(file)
	if parts == nil {
		return file
	}
	parts[3], _, _ = strings.Cut(parts[3], ":")
	return strings.Join(parts, ":")
}

// WithLabel returns the security options of a container that shares a namespace
// with a labelled one: its own, but with that one's label.
func WithLabel(options []string, process string) []string {
	out := slices.DeleteFunc(slices.Clone(options), func(o string) bool {
		return o == labelDisable || strings.HasPrefix(o, "label=") || strings.HasPrefix(o, "label:")
	})
	parts := split(process)
	if parts == nil {
		return append(out, "label="+labelDisable)
	}
	for i, key := range []string{"user", "role", "type", "level"} {
		out = append(out, "label="+key+":"+parts[i])
	}
	return out
}

// OwnLabels reports whether the request says itself which labels it wants.
func OwnLabels(hc *container.HostConfig) bool {
	sec, err := parseSecurity(hc)
	return err == nil && len(sec.labels) > 0
}

// AppArmorProfile says which profile a container runs under; empty for none.
// One that is named is taken as it is named.
func AppArmorProfile(hc *container.HostConfig, host Host) (string, error) {
	sec, err := parseSecurity(hc)
	switch {
	case err != nil || !host.AppArmor:
		return "", err
	case sec.apparmor != "":
		return sec.apparmor, nil
	case hc.Privileged && !host.Rootless:
		return "unconfined", nil
	}
	return host.AppArmorDefault, nil
}

// protect sets what the security modules ask of a process.
func (b *builder) protect() (apparmor, selinux string, err error) {
	hc, host := b.in.HostConfig, b.in.Host
	if apparmor, err = AppArmorProfile(hc, host); err != nil {
		return "", "", err
	}
	if named := b.sec.apparmor; !host.AppArmor && named != "" && named != "unconfined" {
		b.warn("AppArmor is not enabled on this machine. Profile %s discarded.", named)
	}
	if host.AppArmorProblem != "" && b.sec.apparmor == "" && !hc.Privileged {
		b.warn("The container runs without an AppArmor profile: %s", host.AppArmorProblem)
	}
	asked := slices.ContainsFunc(b.sec.labels, func(l string) bool { return l != labelDisable })
	if host.SELinux.Process == "" && asked {
		b.warn("SELinux is not enabled on this machine. Labels discarded.")
	}
	selinux, b.spec.Linux.MountLabel, err = Labels(*b.in)
	return apparmor, selinux, err
}
