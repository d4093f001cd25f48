package runtime

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// copyUpLimit is how many files a tmpfs may begin with: each is some operations.
const copyUpLimit = 20000

// copyUp fills a detached tmpfs with what the image has in its place. The maker
// sees what is there and makes a list; the process copies by that list, inside
// the root file system and past no link.
func (st *start) copyUp(mnt nsinit.Reg, dest string) {
	root, err := os.OpenRoot(st.bundle.rootPath())
	if err != nil {
		st.fail("tmpcopyup %s: %w", dest, err)
		return
	}
	defer root.Close()
	first := len(st.ops)
	src := st.find(cwd, dest, unix.O_DIRECTORY, followLinks)
	count := 0
	err = fs.WalkDir(root.FS(), strings.TrimPrefix(dest, "/"), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if count++; count > copyUpLimit {
			return fmt.Errorf("more than %d files", copyUpLimit)
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(strings.TrimPrefix(dest, "/"), p)
		link := ""
		if fi.Mode()&fs.ModeSymlink != 0 {
			if link, err = root.Readlink(p); err != nil {
				return err
			}
		}
		st.copyOne(src, mnt, rel, link, fi)
		return nil
	})
	st.closeReg(src)
	st.next--
	if os.IsNotExist(err) { // then it begins empty
		st.ops = st.ops[:first]
	} else if err != nil {
		st.fail("tmpcopyup %s: %w", dest, err)
	}
}

func (st *start) copyOne(src, mnt nsinit.Reg, rel, link string, fi fs.FileInfo) {
	what, to, name := "copy "+path.Base(rel), nsinit.Ref(mnt), nsinit.Str(rel)
	mode := nsinit.Int(int(fi.Mode().Perm()))
	switch {
	case rel == ".":
	case fi.IsDir():
		st.do(what, "mkdirat", to, name, mode)
	case link != "":
		st.do(what, "symlinkat", nsinit.Str(link), to, name)
	case fi.Mode().IsRegular():
		args := append([]nsinit.Arg{nsinit.Ref(src), name}, openHow(unix.O_RDONLY, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)...)
		from := st.get(what, "openat2", args...)
		file := st.get(what, "openat", to, name, nsinit.Int(unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC), mode)
		const most = 0x7ffff000 // of one sendfile(2)
		for left := fi.Size(); left > 0; left -= most {
			st.do(what, "sendfile", nsinit.Ref(file), nsinit.Ref(from), zero, nsinit.Int(int(min(left, most))))
		}
		st.closeReg(from)
		st.closeReg(file)
		st.next -= 2
	default: // devices and sockets are not content
		return
	}
	sys, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	uid, mapped := st.inside(sys.Uid, st.Spec.Linux.UIDMappings)
	gid, mapped2 := st.inside(sys.Gid, st.Spec.Linux.GIDMappings)
	if mapped && mapped2 && (uid != 0 || gid != 0) {
		st.do(what, "fchownat", to, name, nsinit.Int(uid), nsinit.Int(gid), nsinit.Int(unix.AT_SYMLINK_NOFOLLOW))
	}
	if link == "" { // after the owner, who takes the set-user-ID bit away
		st.do(what, "fchmodat", to, name, nsinit.Flags(uint64(sys.Mode&0o7777)))
	}
}

// inside is what an id of the host is in the container.
func (st *start) inside(id uint32, maps []specs.LinuxIDMapping) (int, bool) {
	if !st.ns.own(unix.CLONE_NEWUSER) {
		return int(id), true
	}
	for _, m := range maps {
		if id >= m.HostID && id-m.HostID < m.Size {
			return int(m.ContainerID + id - m.HostID), true
		}
	}
	return 0, false
}
