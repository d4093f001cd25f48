package disk

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Kind is the sort of a file system.
type Kind struct {
	Name   string // as people call it
	Shared bool   // other machines may see the same files
	Memory bool   // gone when the machine starts again
}

// KindOf returns the sort of the file system that path lies on, or would lie
// on: of the nearest folder above that exists.
func KindOf(path string) Kind {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(path, &st)
		if err == nil {
			return kindOf(uint32(st.Type))
		}
		if up := filepath.Dir(path); err == unix.ENOENT && up != path {
			path = up
			continue
		}
		return Kind{Name: "<unknown>"}
	}
}

// kindOf knows the numbers of statfs(2). Those that linux/magic.h lacks are in
// the source of coreutils' stat(1). FUSE says nothing about what is behind it;
// sshfs, GlusterFS and virtiofs are.
func kindOf(magic uint32) Kind {
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		return Kind{Name: "extfs"} // 2, 3 and 4 share the number, and Docker this word
	case unix.XFS_SUPER_MAGIC:
		return Kind{Name: "xfs"}
	case unix.BTRFS_SUPER_MAGIC:
		return Kind{Name: "btrfs"}
	case 0x2fc12fc1:
		return Kind{Name: "zfs"}
	case unix.F2FS_SUPER_MAGIC:
		return Kind{Name: "f2fs"}
	case 0xca451a4e:
		return Kind{Name: "bcachefs"}
	case unix.OVERLAYFS_SUPER_MAGIC:
		return Kind{Name: "overlayfs"}
	case unix.TMPFS_MAGIC:
		return Kind{Name: "tmpfs", Memory: true}
	case unix.RAMFS_MAGIC:
		return Kind{Name: "ramfs", Memory: true}
	}
	if name := sharedKind(magic); name != "" {
		return Kind{Name: name, Shared: true}
	}
	return Kind{Name: fmt.Sprintf("%#x", magic)}
}

func sharedKind(magic uint32) string {
	switch magic {
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.SMB_SUPER_MAGIC:
		return "cifs"
	case unix.FUSE_SUPER_MAGIC:
		return "fuse"
	case unix.CEPH_SUPER_MAGIC:
		return "ceph"
	case unix.V9FS_MAGIC:
		return "9p"
	case unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC:
		return "afs"
	case unix.CODA_SUPER_MAGIC:
		return "coda"
	case unix.OCFS2_SUPER_MAGIC:
		return "ocfs2"
	case unix.NCP_SUPER_MAGIC:
		return "ncp"
	case 0x0bd00bd0:
		return "lustre"
	case 0x47504653:
		return "gpfs"
	case 0x19830326:
		return "beegfs"
	case 0x01161970:
		return "gfs2"
	case 0xaad7aaea:
		return "panfs"
	case 0x20030528:
		return "orangefs"
	case 0x786f4256:
		return "vboxsf"
	case 0xbacbacbc:
		return "vmhgfs"
	}
	return ""
}
