package spec

import (
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Input is all that [Build] knows.
type Input struct {
	ID         string
	Name       string
	Config     *container.Config // complete: the image's settings are merged in
	HostConfig *container.HostConfig
	Rootfs     string // host path of the root file system
	Host       Host
	Files      Files
	Mounts     []Mount // binds, volumes and tmpfs, resolved
	// Join gives for each kind of namespace (pid, ipc, network, uts, user,
	// mount, cgroup) the /proc/PID/ns/x to enter instead of making one.
	Join  map[string]string
	Users Users // the container's root file system; nil has no files

	CgroupsPath string
	// CgroupDirs gives, with cgroup v1, the host folder of this container's
	// cgroup for each hierarchy ("memory", "cpu,cpuacct").
	CgroupDirs map[string]string

	Devices     []Device            // what --device asked for, resolved
	HostDevices []specs.LinuxDevice // every device of the host, for --privileged
}

// Host holds facts of the machine and of the account berth runs as.
type Host struct {
	Rootless bool // the effective user is not root
	UID, GID int
	IDs      IDs // of an account's container with more ids than one
	CgroupV2 bool
	Kernel   Kernel
	Arch     string // GOARCH
	LastCap  int    // number of the newest capability the kernel knows
	// Bounding is the set of capabilities this process may hand on, bit n for
	// capability n. Zero means all up to LastCap. A root that sits in a
	// container itself has fewer.
	Bounding  uint64
	NoSeccomp bool   // the kernel has no seccomp filters
	NoFile    uint64 // how many files a process may open at most; 0 is unknown
	NoMqueue  bool   // the host has no /dev/mqueue to share
	AppArmor  bool   // the kernel enforces AppArmor profiles
	// AppArmorDefault is the profile that is loaded for containers; empty
	// without root. AppArmorProblem says in one clause why it could not be.
	AppArmorDefault, AppArmorProblem string
	SELinux                          SELinux
	CPUs                             string // processors that exist ("0-7"); empty is not checked
	Mems                             string // memory nodes that exist; empty is not checked
	// ProcCovered and SysCovered: parts of the machine's own are hidden from us
	// by the container around, so an account cannot mount it anew.
	ProcCovered, SysCovered bool
	// Masked are paths to hide beyond the usual ones, such as
	// /sys/devices/system/cpu/cpu0/thermal_throttle.
	Masked []string
}

// Kernel is the version of the running kernel.
type Kernel struct{ Major, Minor int }

// AtLeast reports whether the kernel is major.minor or newer.
func (k Kernel) AtLeast(major, minor int) bool {
	return k.Major > major || k.Major == major && k.Minor >= minor
}

// Files are host paths that berth itself brings into a container. Empty ones
// are left out.
type Files struct {
	Hosts      string // /etc/hosts
	ResolvConf string // /etc/resolv.conf
	Hostname   string // /etc/hostname
	// Apt is a file of settings that apt is pointed to by its environment.
	Apt string
	Shm string // folder to bind at /dev/shm; empty makes an own tmpfs
	// Init is a program to run as process 1 for --init; empty leaves that to
	// the runtime.
	Init string
}

// Mount is something the user, or the image, wants in the container.
type Mount struct {
	Type        string // "bind" or "tmpfs"
	Source      string // host path of a bind
	Destination string
	ReadOnly    bool
	// NonRecursive leaves out what is mounted below the source.
	NonRecursive bool
	// ReadOnlyNonRecursive makes only the top of a read-only bind read-only.
	// By default everything below is, where the kernel can (5.12).
	ReadOnlyNonRecursive bool
	// ReadOnlyForceRecursive refuses kernels that cannot.
	ReadOnlyForceRecursive bool
	Propagation            string // "rprivate" when empty
	TmpfsOptions           string // options of a tmpfs, with commas
	NoCopy                 bool   // for the engine: do not fill a new volume from the image
}

// Device is a device of the host under its name in the container.
type Device struct {
	Source            string // path on the host
	specs.LinuxDevice        // Path is the one in the container
	Permissions       string // r, w, m in any order; empty is all
}

// Users reads small files of the container's root file system, /etc/passwd and
// /etc/group. It never follows a link out of it, refuses what is not a plain
// file and fails on files longer than limit. A missing file is reported as
// [io/fs.ErrNotExist].
type Users interface {
	ReadFile(path string, limit int64) ([]byte, error)
}

// ExecRequest is one more program for a running container.
type ExecRequest struct {
	Args        []string
	Env         []string // K=V over the container's; K alone removes
	User        string   // empty is the container's
	Cwd         string   // empty is the container's
	Tty         bool
	Privileged  bool
	ConsoleSize [2]uint // height, width
}

// Annotations of berth's own on a specification.
const (
	// AnnotationRootOptions holds mount options for the root file system,
	// with commas.
	AnnotationRootOptions = "berth.rootfs.options"
	annotationPrefix      = "berth."
)
