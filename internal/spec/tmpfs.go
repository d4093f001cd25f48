package spec

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// tmpfs translates a file system in memory. The user's options come after the
// defaults, and of options that contradict each other the last one counts.
func (b *builder) tmpfs(m Mount) (specs.Mount, error) {
	options := []string{"noexec", "nosuid", "nodev", "rprivate"}
	if m.TmpfsOptions != "" {
		options = append(options, strings.Split(m.TmpfsOptions, ",")...)
	}
	if m.ReadOnly {
		options = append(options, "ro")
	}
	var kept, kinds []string // the last of each kind, in order
	for _, o := range slices.Backward(options) {
		if o == "defaults" {
			continue
		}
		kind := tmpfsOptionKind(o)
		if kind == "" {
			return specs.Mount{}, fmt.Errorf("invalid tmpfs option %q", o)
		}
		if slices.Contains(kinds, kind) {
			continue
		}
		kinds = append(kinds, kind)
		if b.usableTmpfsOption(o) {
			kept = append(kept, b.tmpfsOwner(o))
		}
	}
	slices.Reverse(kept)
	return specs.Mount{Type: "tmpfs", Source: "tmpfs", Options: kept}, nil
}

// usableTmpfsOption leaves out what this container cannot have.
func (b *builder) usableTmpfsOption(o string) bool {
	switch {
	case o == "dev" && !b.in.HostConfig.Privileged:
		b.warn("Only a privileged container may have device nodes on a tmpfs. Option dev discarded.")
		return false
	case b.in.Host.oneID() && (strings.HasPrefix(o, "uid=") || strings.HasPrefix(o, "gid=")):
		// All files of such a container belong to its one user and group.
		if o != "uid=0" && o != "gid=0" {
			b.warn("Without root a container has one user. Tmpfs option %s discarded.", o)
		}
		return false
	}
	return true
}

// tmpfsOwner names an owner as the container's user namespace does, in which the
// file system is made.
func (b *builder) tmpfsOwner(o string) string {
	key, value, _ := strings.Cut(o, "=")
	id, err := strconv.ParseUint(value, 10, 32)
	if key != "uid" && key != "gid" || err != nil || !b.in.Host.IDs.Nested() {
		return o
	}
	outer, _ := b.in.Host.IDs.user(uint32(id))
	if key == "gid" {
		outer, _ = b.in.Host.IDs.group(uint32(id))
	}
	return key + "=" + strconv.FormatUint(uint64(outer), 10)
}

// tmpfsOptionKind names what an option decides, so that contradicting options
// have the same kind. Unknown options have none.
func tmpfsOptionKind(o string) string {
	if key, _, ok := strings.Cut(o, "="); ok {
		switch key {
		case "size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge":
			return key
		}
		return ""
	}
	switch o {
	case "ro", "rw":
		return "ro"
	case "suid", "nosuid":
		return "suid"
	case "dev", "nodev":
		return "dev"
	case "exec", "noexec":
		return "exec"
	case "sync", "async":
		return "sync"
	case "dirsync":
		return "dirsync"
	case "atime", "noatime":
		return "atime"
	case "diratime", "nodiratime":
		return "diratime"
	case "relatime", "norelatime":
		return "relatime"
	case "strictatime", "nostrictatime":
		return "strictatime"
	case "private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable":
		return "propagation"
	}
	return ""
}
