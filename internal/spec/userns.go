package spec

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Modes of --userns.
const (
	UsernsAuto   = "auto"    // all ids the account has, or its one; "" and "host" mean the same
	UsernsSingle = "single"  // one id
	UsernsKeepID = "keep-id" // the program is the caller
)

// Userns is what --userns says.
type Userns struct {
	Mode string // one of the above
	// UID and GID are who the caller is inside, for keep-id; -1 is who it is
	// outside.
	UID, GID int
}

// ParseUserns reads the value of --userns.
func ParseUserns(mode container.UsernsMode) (Userns, error) {
	u := Userns{UID: -1, GID: -1}
	name, options, more := strings.Cut(string(mode), ":")
	switch name {
	case "", "host", UsernsAuto:
		u.Mode = UsernsAuto
	case UsernsSingle, UsernsKeepID:
		u.Mode = name
	case "nomap":
		return u, fmt.Errorf("user namespace mode nomap is not supported: root of a container is always the account itself")
	default:
		return u, fmt.Errorf("invalid user namespace mode: %v: choose auto, host, single or keep-id[:uid=N,gid=N]", mode)
	}
	if !more {
		return u, nil
	}
	if u.Mode != UsernsKeepID {
		return u, fmt.Errorf("invalid user namespace mode: %v: %s has no options", mode, name)
	}
	for _, o := range strings.Split(options, ",") {
		key, value, _ := strings.Cut(o, "=")
		n, err := strconv.ParseInt(value, 10, 32)
		switch {
		case err != nil || n < 0:
			return u, fmt.Errorf("invalid user namespace mode: %v: %q is neither uid=N nor gid=N", mode, o)
		case key == "uid":
			u.UID = int(n)
		case key == "gid":
			u.GID = int(n)
		default:
			return u, fmt.Errorf("invalid user namespace mode: %v: %q is neither uid=N nor gid=N", mode, o)
		}
	}
	return u, nil
}

// IDs are the maps of an account's user namespace with more ids than its own,
// and of one inside of that which renames some of them for the container's
// programs.
type IDs struct {
	UIDs      []specs.LinuxIDMapping `json:"uids,omitempty"`
	GIDs      []specs.LinuxIDMapping `json:"gids,omitempty"`
	InnerUIDs []specs.LinuxIDMapping `json:"innerUids,omitempty"`
	InnerGIDs []specs.LinuxIDMapping `json:"innerGids,omitempty"`
}

// Some reports whether there are any.
func (i IDs) Some() bool { return len(i.UIDs) > 0 }

// Nested reports whether the programs are in a namespace of their own.
func (i IDs) Nested() bool { return len(i.InnerUIDs) > 0 }

func (i IDs) user(id uint32) (outer uint32, ok bool)  { return throughBoth(i.InnerUIDs, i.UIDs, id) }
func (i IDs) group(id uint32) (outer uint32, ok bool) { return throughBoth(i.InnerGIDs, i.GIDs, id) }

// throughBoth returns what an id of the programs is in the container's
// namespace, and whether it exists.
func throughBoth(inner, outer []specs.LinuxIDMapping, id uint32) (uint32, bool) {
	if len(inner) > 0 {
		var ok bool
		if id, ok = through(inner, id); !ok {
			return id, false
		}
	}
	_, ok := through(outer, id)
	return id, ok
}

func through(maps []specs.LinuxIDMapping, id uint32) (uint32, bool) {
	for _, m := range maps {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return m.HostID + id - m.ContainerID, true
		}
	}
	return id, false
}

// oneID reports whether a container has no id but the account's own.
func (h Host) oneID() bool { return h.Rootless && !h.IDs.Some() }

// mapped checks that a user and its groups exist in the container.
func (h Host) mapped(id identity) error {
	if !h.IDs.Some() {
		return nil
	}
	if _, ok := h.IDs.user(id.uid); !ok {
		return h.unmapped("user", id.uid, h.IDs.UIDs)
	}
	for _, g := range append([]uint32{id.gid}, id.groups...) {
		if _, ok := h.IDs.group(g); !ok {
			return h.unmapped("group", g, h.IDs.GIDs)
		}
	}
	return nil
}

func (h Host) unmapped(what string, id uint32, maps []specs.LinuxIDMapping) error {
	return fmt.Errorf("%s %d does not exist in the container: this account has ids up to %d there (/etc/subuid, /etc/subgid); --userns single gives the %s to the account's own id",
		what, id, last(maps), what)
}

// last is the greatest id of a map.
func last(maps []specs.LinuxIDMapping) (n uint32) {
	for _, m := range maps {
		n = max(n, m.ContainerID+m.Size-1)
	}
	return n
}

// KeepGroups reports whether a process keeps the groups of the account: it is
// the account, and asks for no others. They may be what opens a folder or a
// device of the host.
func (h Host) KeepGroups(p *specs.Process) bool {
	return h.IDs.Some() && p.User.AdditionalGids == nil
}

// keepGroups is the word for it in --group-add.
const keepGroups = "keep-groups"
