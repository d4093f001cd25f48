package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ProbeWord is the command by which the program is started for [Probe].
const ProbeWord = "__probe"

// What [Probe] is asked for.
const (
	probeAccount = "account" // try as the account that runs, and print a trial
	probeInside  = "inside"  // we are in the namespaces: try the steps
)

// probeTime is how long a trial may take; it needs some 10 ms.
const probeTime = 10 * time.Second

// nobody is the account that root tries what ordinary accounts may.
const nobody = 65534

// trial is what came of making namespaces and mounting in them.
type trial struct {
	// Refused is what clone(2), or giving the namespace its map, answered.
	Refused syscall.Errno `json:"refused"`
	// Kind is what it was refused for, if a user namespace alone is given.
	Kind string `json:"kind,omitempty"`
	// Steps are the errors of what was tried inside, 0 where it worked.
	Steps map[string]syscall.Errno `json:"steps"`
	// Broken says why nothing was found out.
	Broken string `json:"broken,omitempty"`
}

// The steps inside. The first two are those that machines which let a namespace
// be made, and take its rights away, refuse.
const (
	stepPrivate  = "private"  // mounts of our own
	stepTmpfs    = "tmpfs"    // a file system in memory
	stepHostname = "hostname" // a name of our own
	stepProc     = "proc"     // a view of our own processes
	stepSysfs    = "sysfs"
	stepDevpts   = "devpts"
	stepMqueue   = "mqueue"
	stepCgroup   = "cgroup2"
	stepOverlay  = "overlay"  // layers, in the data root
	stepWhiteout = "whiteout" // removing a file of a lower layer
	stepOpaque   = "opaque"   // replacing a folder of a lower layer
)

// kinds are the namespaces that a container has, apart from the user's.
func kinds() []struct {
	name string
	flag uintptr
} {
	return []struct {
		name string
		flag uintptr
	}{
		{"mount", unix.CLONE_NEWNS}, {"uts", unix.CLONE_NEWUTS}, {"ipc", unix.CLONE_NEWIPC},
		{"pid", unix.CLONE_NEWPID}, {"net", unix.CLONE_NEWNET}, {"cgroup", unix.CLONE_NEWCGROUP},
	}
}

// Probe is the program that [Examine] starts for a trial. It returns the exit
// code of the process.
func Probe(args []string, out io.Writer) int {
	var answer any
	switch {
	case len(args) == 2 && args[0] == probeInside:
		answer = inside(args[1] == "user")
	case len(args) == 1 && args[0] == probeAccount:
		answer = try(context.Background(), true, "")
	default:
		return 2
	}
	if json.NewEncoder(out).Encode(answer) != nil {
		return 1
	}
	return 0
}

// try makes the namespaces of a container, with a user namespace or as root, and
// has the steps tried in them. Dir is a folder as [layersIn] makes it, for the
// overlay; without one that step is left out.
func try(ctx context.Context, user bool, dir string) trial {
	var flags uintptr
	for _, k := range kinds() {
		flags |= k.flag
	}
	t := clone(ctx, user, flags, dir)
	if t.Refused == 0 || t.Broken != "" {
		return t
	}
	if alone := clone(ctx, user, 0, ""); user && alone.Refused != 0 {
		return t
	}
	for _, k := range kinds() {
		if clone(ctx, user, k.flag, "").Refused != 0 {
			t.Kind = k.name
			return t
		}
	}
	return t
}

// clone starts the program once more in new namespaces.
func clone(ctx context.Context, user bool, flags uintptr, dir string) trial {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	who := "root"
	if nested() {
		who = "user" // root of a user namespace is an account to overlay, too
	}
	attr := &syscall.SysProcAttr{Cloneflags: flags}
	if user {
		who = "user"
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", ProbeWord, probeInside, who)
	cmd.SysProcAttr, cmd.Env, cmd.Dir = attr, []string{}, dir
	if dir == "" {
		cmd.Dir = "/"
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	var errno syscall.Errno
	var start *os.PathError
	var t trial
	switch {
	case errors.As(err, &start) && start.Op == "fork/exec" && errors.As(err, &errno):
		return trial{Refused: errno}
	case err != nil:
		return trial{Broken: fmt.Sprintf("the trial did not end well: %v", err)}
	}
	if err := json.Unmarshal(out.Bytes(), &t.Steps); err != nil {
		t.Broken = fmt.Sprintf("the trial made no sense: %v", err)
	}
	return t
}

// nested reports whether we are in a user namespace other than the machine's
// first, which maps all ids to themselves.
func nested() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(b)), " ") != "0 0 4294967295"
}

// tryAs has an ordinary account try, when root asks.
func tryAs(ctx context.Context, uid uint32) trial {
	ctx, cancel := context.WithTimeout(ctx, 2*probeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", ProbeWord, probeAccount)
	cmd.Env, cmd.Dir = []string{}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.Output()
	var t trial
	if err == nil {
		err = json.Unmarshal(out, &t)
	}
	if err != nil {
		return trial{Broken: fmt.Sprintf("account %d could not be asked: %v", uid, err)}
	}
	return t
}

// layersIn fills a folder with what the overlay's step needs.
func layersIn(dir string) error {
	for _, p := range []string{"lower/folder/below", "other", "upper", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(dir, p), 0o700); err != nil {
			return err
		}
	}
	return os.Symlink("nowhere", filepath.Join(dir, "lower/file"))
}

// inside tries the steps. This process is alone in its namespaces, in a folder
// as layersIn makes it or in /.
func inside(user bool) map[string]syscall.Errno {
	out := map[string]syscall.Errno{}
	step := func(name string, err error) bool {
		errno := syscall.Errno(0)
		if err != nil && !errors.As(err, &errno) {
			errno = unix.EIO
		}
		out[name] = errno
		return errno == 0
	}
	step(stepPrivate, unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""))
	step(stepHostname, unix.Sethostname([]byte("berth")))
	for name, kind := range map[string]string{stepProc: "proc", stepSysfs: "sysfs", stepDevpts: "devpts", stepMqueue: "mqueue", stepCgroup: "cgroup2"} {
		step(name, newFileSystem(kind))
	}
	if _, err := os.Lstat("lower"); err == nil {
		opts := "lowerdir=lower:other,upperdir=upper,workdir=work"
		if user {
			opts += ",userxattr"
		}
		if step(stepOverlay, unix.Mount("overlay", "merged", "overlay", 0, opts)) {
			step(stepWhiteout, unix.Unlink("merged/file"))
			step(stepOpaque, replaceFolder("merged/folder"))
		}
	}
	// Last, because it hides all else from a path that begins at the root.
	step(stepTmpfs, unix.Mount("tmpfs", "/", "tmpfs", 0, ""))
	return out
}

// replaceFolder removes a folder of a lower layer and makes one of its name,
// which takes a device node or an attribute in the upper layer.
func replaceFolder(p string) error {
	for _, err := range []error{unix.Rmdir(p + "/below"), unix.Rmdir(p), unix.Mkdir(p, 0o700)} {
		if err != nil {
			return err
		}
	}
	return nil
}

// newFileSystem makes one that is mounted nowhere.
func newFileSystem(kind string) error {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return err
	}
	m, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err == nil {
		unix.Close(m)
	}
	return err
}

// crippled is the error of a namespace that was given without its rights.
func (t trial) crippled() syscall.Errno {
	for _, s := range []string{stepPrivate, stepTmpfs} {
		if e := t.Steps[s]; e != 0 {
			return e
		}
	}
	return 0
}

// refused lists those of the steps that were tried in vain.
func (t trial) refused(steps ...string) []string {
	return slices.DeleteFunc(steps, func(s string) bool { return t.Steps[s] == 0 })
}

func and(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
