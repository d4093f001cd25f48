package runtime

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// options is a mount's option list, sorted out.
type options struct {
	top, all  attrs    // of the mount, and of all mounts below it as well
	bind      bool     // of something that exists
	rec       bool     // rbind
	idmap     bool     // owners are shown through a map
	idmapAll  bool     // below it too
	tmpcopyup bool     // a tmpfs begins with what the image has in its place
	data      []string // for the file system itself
}

// attrs are attributes to set and to clear (MOUNT_ATTR_*), and the propagation
// (MS_*), or 0.
type attrs struct{ set, clr, propagation uint64 }

func (a attrs) kernel() unix.MountAttr {
	return unix.MountAttr{Attr_set: a.set, Attr_clr: a.clr, Propagation: a.propagation}
}

// attribute finds the option among those that are an attribute of a mount. With
// an r before it (rro) it is for all mounts below as well.
func attribute(opt string) (attr uint64, set, ok bool) {
	switch opt {
	case "ro", "rw":
		return unix.MOUNT_ATTR_RDONLY, opt == "ro", true
	case "nosuid", "suid":
		return unix.MOUNT_ATTR_NOSUID, opt == "nosuid", true
	case "nodev", "dev":
		return unix.MOUNT_ATTR_NODEV, opt == "nodev", true
	case "noexec", "exec":
		return unix.MOUNT_ATTR_NOEXEC, opt == "noexec", true
	case "nodiratime", "diratime":
		return unix.MOUNT_ATTR_NODIRATIME, opt == "nodiratime", true
	case "nosymfollow", "symfollow":
		return unix.MOUNT_ATTR_NOSYMFOLLOW, opt == "nosymfollow", true
	// How access times are kept is one choice of three.
	case "noatime":
		return unix.MOUNT_ATTR_NOATIME, true, true
	case "strictatime":
		return unix.MOUNT_ATTR_STRICTATIME, true, true
	case "relatime", "atime", "norelatime", "nostrictatime":
		return unix.MOUNT_ATTR_RELATIME, true, true
	}
	return 0, false, false
}

func (a *attrs) put(attr uint64, set bool) {
	const times = unix.MOUNT_ATTR__ATIME
	if attr&^times == 0 { // one of the three: RELATIME is 0
		a.clr |= times
		a.set = a.set&^times | attr
		return
	}
	a.set, a.clr = a.set&^attr, a.clr&^attr
	if set {
		a.set |= attr
	} else {
		a.clr |= attr
	}
}

// propagation finds one of the words of mount(8), as MS_*.
func propagation(opt string) (flag uint64, ok bool) {
	switch opt {
	case "private", "rprivate":
		return unix.MS_PRIVATE, true
	case "slave", "rslave":
		return unix.MS_SLAVE, true
	case "shared", "rshared":
		return unix.MS_SHARED, true
	case "unbindable", "runbindable":
		return unix.MS_UNBINDABLE, true
	}
	return 0, false
}

func parseOptions(m specs.Mount) options {
	var o options
	for _, opt := range m.Options {
		if flag, ok := propagation(opt); ok {
			if opt[0] == 'r' {
				o.all.propagation = flag
			} else {
				o.top.propagation = flag
			}
		} else if attr, set, ok := attribute(opt); ok {
			o.top.put(attr, set)
		} else if attr, set, ok := attribute(opt[min(1, len(opt)):]); ok && opt[0] == 'r' {
			o.all.put(attr, set)
		} else {
			o.other(opt)
		}
	}
	return o
}

func (o *options) other(opt string) {
	switch opt {
	case "bind":
		o.bind = true
	case "rbind":
		o.bind, o.rec = true, true
	case "idmap":
		o.idmap = true
	case "ridmap":
		o.idmap, o.idmapAll = true, true
	case "tmpcopyup":
		o.tmpcopyup = true
	case "defaults", "async", "newinstance", "z", "Z", "loud", "silent", "remount", "noiversion", "":
	default:
		o.data = append(o.data, opt)
	}
}

// everywhere has what is said of a mount hold for all below it, and keeps what
// happens outside away from them unless that is asked for.
func (o *options) everywhere() {
	all := o.top
	all.clr &= unix.MOUNT_ATTR__ATIME
	all.set |= o.all.set
	if all.propagation |= o.all.propagation; all.propagation == 0 {
		all.propagation = unix.MS_PRIVATE
	}
	o.top, o.all = attrs{}, all
}

// change is one call of mount_setattr(2).
type change struct {
	flags uint64 // AT_*
	attrs
}

// changes are the calls that give a mount its options.
func (o options) changes() []change {
	var out []change
	if !o.rec {
		o.top.set, o.top.clr = o.top.set|o.all.set&^o.top.clr, o.top.clr|o.all.clr&^o.top.set
		o.top.propagation |= o.all.propagation
		o.all = attrs{}
	}
	if o.all != (attrs{}) {
		out = append(out, change{unix.AT_EMPTY_PATH | unix.AT_RECURSIVE, o.all})
	}
	if o.top != (attrs{}) {
		out = append(out, change{unix.AT_EMPTY_PATH, o.top})
	}
	return out
}
