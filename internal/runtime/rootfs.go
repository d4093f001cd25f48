package runtime

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// rootfs mounts the root file system, enters it, lets the old root go, and
// puts everything in its place.
//
// Hooks are promised to run before the root file system is entered, with all
// mounts in it. For them the mounts are placed from a chroot(2), which keeps
// paths inside as well, and the process steps back out while they run.
func (st *start) rootfs() {
	if st.bundle != nil {
		st.bindRoot(st.bundle.rootPath())
	} else {
		st.mountRoot()
		st.do("enter the root file system", "chdir", nsinit.Str(st.Root.Target))
	}
	if st.bundle != nil && st.bundle.Hooks {
		what := "step into the root file system"
		at := func(p string) nsinit.Reg {
			return st.get(what, "openat", cwd, nsinit.Str(p), nsinit.Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC), zero)
		}
		old, root := at("/"), at(".")
		st.do(what, "chroot", nsinit.Str("."))
		st.fill()
		what = "step out of the root file system"
		st.do(what, "fchdir", nsinit.Ref(old))
		st.do(what, "chroot", nsinit.Str("."))
		st.closeReg(old)
		st.pause(StageRuntime)
		st.do("enter the root file system", "fchdir", nsinit.Ref(root))
		st.closeReg(root)
		st.enterRoot()
	} else {
		st.enterRoot()
		st.fill()
	}
	st.kernelSettings()
	st.protect()
}

func (st *start) fill() {
	st.places()
	st.devices()
}

// mountRoot mounts the root file system at its target, as seen from its base.
func (st *start) mountRoot() {
	r := st.Root
	flags := uint64(0)
	if r.NoDev {
		flags = unix.MS_NODEV
	}
	st.do("enter "+r.Base, "chdir", nsinit.Str(r.Base))
	if len(r.Lower) > 0 {
		st.overlay(flags)
	} else {
		st.do("mount the root file system", "mount", nsinit.Str(r.Target), nsinit.Str(r.Target), none, nsinit.Flags(unix.MS_BIND|unix.MS_REC), zero)
		st.do("mount the root file system", "mount", none, nsinit.Str(r.Target), none, nsinit.Flags(unix.MS_BIND|unix.MS_REMOUNT|flags), zero)
		if st.ns.rootless() {
			// The host may have locked flags that a remount must keep.
			st.ops[len(st.ops)-1].Allow = []int{nsinit.AnyError}
		}
	}
}

// bindRoot mounts a bundle's root file system on itself, for pivot_root(2) takes
// only a mount, and makes it the working directory.
func (st *start) bindRoot(root string) {
	what := "mount the root file system " + root
	if st.sharedRoot() {
		st.parentPrivate(root)
	}
	st.do(what, "mount", nsinit.Str(root), nsinit.Str(root), none, nsinit.Flags(unix.MS_BIND|unix.MS_REC), zero)
	if st.sharedRoot() {
		st.do(what, "mount", none, nsinit.Str(root), none, nsinit.Flags(unix.MS_PRIVATE), zero)
	}
	st.do("enter the root file system", "chdir", nsinit.Str(root))
}

// parentPrivate takes the mount that holds the root file system out of its
// peer group, as pivot_root(2) demands. It is the one at the nearest folder
// above that is a mount.
func (st *start) parentPrivate(root string) {
	first := len(st.ops)
	for p := root; ; p = path.Dir(p) {
		st.do("make the mount of the root file system private", "mount", none, nsinit.Str(p), none, nsinit.Flags(unix.MS_PRIVATE), zero)
		if p == "/" {
			break
		}
		st.allow(0, unix.EINVAL)
	}
	for i := first; i < len(st.ops); i++ {
		st.ops[i].Then = len(st.ops) - 1 - i
	}
}

// enterRoot makes the working directory the root of everything.
func (st *start) enterRoot() {
	const what = "enter the root file system"
	if st.bundle != nil && st.bundle.NoPivot {
		st.do(what, "mount", nsinit.Str("."), nsinit.Str("/"), none, nsinit.Flags(unix.MS_MOVE), zero)
		st.do(what, "chroot", nsinit.Str("."))
	} else {
		// pivot_root(2): with "." twice the old root lies over the new one,
		// and unmounting "." uncovers it.
		st.do(what, "pivot_root", nsinit.Str("."), nsinit.Str("."))
		if st.sharedRoot() {
			st.do("leave the host's file system", "mount", none, nsinit.Str("."), none, nsinit.Flags(unix.MS_REC|unix.MS_SLAVE), zero)
		}
		st.do("leave the host's file system", "umount2", nsinit.Str("."), nsinit.Int(unix.MNT_DETACH))
	}
	st.do(what, "chdir", nsinit.Str("/"))
}

// rootPropagation is what the specification has as rootfsPropagation, and
// whether it is for all mounts below as well.
func (st *start) rootPropagation() (flag uint64, known bool) {
	if st.bundle == nil || st.Spec.Linux.RootfsPropagation == "" {
		return 0, true
	}
	flag, known = propagation(st.Spec.Linux.RootfsPropagation)
	if strings.HasPrefix(st.Spec.Linux.RootfsPropagation, "r") {
		flag |= unix.MS_REC
	}
	return flag, known
}

// sharedRoot reports whether mounts in the container are to reach the host.
func (st *start) sharedRoot() bool {
	flag, _ := st.rootPropagation()
	return flag&unix.MS_SHARED != 0
}

// separate has no mount of ours reach the host. The root file system of a
// container that is to see the host's must not lose them here.
func (st *start) separate() {
	flag, known := st.rootPropagation()
	if !known {
		st.fail("rootfsPropagation %q is none of shared, slave, private and unbindable", st.Spec.Linux.RootfsPropagation)
	}
	prop := uint64(unix.MS_PRIVATE)
	if flag&unix.MS_SLAVE != 0 {
		prop = unix.MS_SLAVE
	}
	if flag&unix.MS_SHARED == 0 {
		st.do("make mounts private", "mount", none, nsinit.Str("/"), none, nsinit.Flags(unix.MS_REC|prop), zero)
	}
}

// late makes read-only what had to be written until now.
func (st *start) late() {
	if dir := st.Spec.Process.Cwd; dir != "" {
		st.offer(path.Join("/", dir))
	}
	ro := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	for _, s := range st.frozen {
		st.setattr("make "+s.mount.Destination+" read-only", nsinit.Ref(s.reg), none, unix.AT_EMPTY_PATH, ro)
	}
	if st.Spec.Root != nil && st.Spec.Root.Readonly {
		st.setattr("make the root file system read-only", cwd, nsinit.Str("/"), 0, ro)
	}
	if flag, _ := st.rootPropagation(); flag&^unix.MS_REC != 0 && flag&unix.MS_PRIVATE == 0 {
		st.do("set rootfsPropagation", "mount", none, nsinit.Str("/"), none, nsinit.Flags(flag), zero)
	}
}
