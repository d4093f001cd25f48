package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/cgroup"
	"berth/internal/state"
	"berth/internal/sys"
)

// recordVersion is the form of state.json that this program writes.
const recordVersion = 1

// record is what has to be known of a container beside its configuration.
type record struct {
	V           int               `json:"v"`
	ID          string            `json:"id"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	UID         int               `json:"uid"`             // who made it
	Maker       state.Owner       `json:"maker"`           // the `create` that is at work
	Ready       bool              `json:"ready,omitempty"` // which has done its work
	Init        state.Owner       `json:"init,omitzero"`   // the first process
	Namespaces  uint64            `json:"namespaces,omitempty"`
	Rest        []string          `json:"rest,omitempty"` // what is left to do at `start`, for messages
	Group       *cgroup.Group     `json:"group,omitempty"`
	Unit        string            `json:"unit,omitempty"`    // the scope of systemd's that the group is
	Rdt         string            `json:"rdt,omitempty"`     // the folder in /sys/fs/resctrl that is the container's
	Exposed     bool              `json:"exposed,omitempty"` // its ids could write to this program's file
	StartHooks  bool              `json:"startHooks,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// container is one that exists.
type container struct {
	record
	dir string
}

const (
	recordFile = "state.json"
	configFile = "config.json"
	socketFile = "start.sock"
	lockFile   = "lock"
)

// Names in ROOT that are no containers': one that is being made, and one that
// is being removed, each with the process that does it.
const (
	newPrefix  = ".new-"
	gonePrefix = ".gone-"
	seccompDir = ".seccomp" // compiled filters
	emptyDir   = ".empty"   // the second layer of the overlay that protects our program
)

const paused specs.ContainerState = "paused" // runc's, beside those of the specification

var (
	errNotExist = errors.New("container does not exist")
	errExists   = errors.New("container with given ID already exists")
	errBadID    = errors.New("invalid container ID format")
)

// defaultRoot is where containers are when nobody says.
func defaultRoot() string {
	if os.Geteuid() == 0 && !nested() {
		return "/run/berth/oci"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "berth", "oci")
	}
	return "/tmp/berth-oci-" + strconv.Itoa(os.Geteuid())
}

// nested tells whether we are root of a user namespace only: then /run may be
// another account's.
func nested() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(b)), " ") != "0 0 4294967295"
}

// makeRoot makes the folder of all containers. It holds what decides which
// programs run as whom, so nobody else may have made it.
func (a *app) makeRoot() error {
	if err := os.MkdirAll(a.root, 0o700); err != nil {
		return err
	}
	if a.root != "/tmp/berth-oci-"+strconv.Itoa(os.Geteuid()) {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Lstat(a.root, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: a.root, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s is not a private folder of this account: remove it, or set XDG_RUNTIME_DIR", a.root)
	}
	return nil
}

// validID allows the letters that runc allows. Names with a dot first are ours.
func validID(id string) error {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_+-.", r)
	}
	if id == "" || id[0] == '.' || len(id) > 200 || strings.ContainsFunc(id, func(r rune) bool { return !ok(r) }) {
		return errBadID
	}
	return nil
}

// load reads a container's record.
func (a *app) load(id string) (*container, error) {
	if validID(id) != nil {
		return nil, errBadID
	}
	c := &container{dir: filepath.Join(a.root, id)}
	err := state.ReadJSON(c.path(recordFile), &c.record)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errNotExist
	case err != nil:
		return nil, fmt.Errorf("cannot read the state of container %s: %w", id, err)
	case c.V > recordVersion:
		return nil, fmt.Errorf("container %s was made by a newer berth", id)
	}
	return c, nil
}

// hold loads a container and takes its lock, for what changes it.
func (a *app) hold(id string) (*container, *state.Tx, error) {
	if _, err := a.load(id); err != nil {
		return nil, nil, err
	}
	tx, err := state.Lock(filepath.Join(a.root, id, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, errNotExist
	} else if err != nil {
		return nil, nil, err
	}
	c, err := a.load(id) // it may have changed while we waited
	if err != nil {
		tx.Unlock()
		return nil, nil, err
	}
	return c, tx, nil
}

func (c *container) path(name string) string { return filepath.Join(c.dir, name) }

// save writes the record. Nothing of it means anything after the machine went
// down.
func (c *container) save() error {
	data, err := json.Marshal(&c.record)
	if err != nil {
		return err
	}
	return state.WriteVolatile(c.path(recordFile), append(data, '\n'), 0o600)
}

// config reads the configuration as it was when the container was made.
func (c *container) config() (*specs.Spec, error) {
	data, err := os.ReadFile(c.path(configFile))
	var s *specs.Spec
	if err == nil {
		s, err = parseSpec(data)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration of container %s: %w", c.ID, err)
	}
	return s, nil
}

// status tells what the container is doing now.
func (c *container) status() specs.ContainerState {
	p, ok := look(c.Init)
	switch {
	case !ok && c.Init.Pid == 0 && !c.Ready && c.Maker.Alive():
		return specs.StateCreating
	case !ok || p.exiting:
		return specs.StateStopped
	case c.Group != nil && c.Group.Frozen():
		return paused
	case p.executed:
		return specs.StateRunning
	case c.Ready:
		return specs.StateCreated
	}
	return specs.StateCreating
}

// process is what the kernel tells everybody of a process.
type process struct {
	start    uint64 // clock ticks since boot
	executed bool   // it has executed a program since it was forked
	exiting  bool   // it runs nothing any more, and waits for others of its pid namespace to go
}

// look finds the first process, if it is still that one and not a zombie.
func look(o state.Owner) (process, bool) {
	p, err := stat(o.Pid)
	return p, err == nil && p.start == o.Start
}

// Flags of field 9 of /proc/PID/stat (proc(5)): PF_EXITING and PF_FORKNOEXEC of
// linux/sched.h, the same in all versions of Linux.
const (
	exiting    = 0x4
	forkNoExec = 0x40
)

func stat(pid int) (process, error) {
	if pid <= 0 {
		return process{}, sys.ErrNoProcess
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, sys.ErrNoProcess
	}
	// The name of the command may hold any byte; it ends at the last parenthesis.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 20 || f[0][0] == 'Z' || f[0][0] == 'X' {
		return process{}, sys.ErrNoProcess
	}
	flags, err1 := strconv.ParseUint(string(f[6]), 10, 64)
	start, err2 := strconv.ParseUint(string(f[19]), 10, 64)
	return process{start, flags&forkNoExec == 0, flags&exiting != 0}, errors.Join(err1, err2)
}

// ociState is what hooks are told, and who answers for a seccomp listener.
func (c *container) ociState(status specs.ContainerState) specs.State {
	s := specs.State{Version: specs.Version, ID: c.ID, Status: status, Pid: c.Init.Pid, Bundle: c.Bundle, Annotations: c.Annotations}
	if status == specs.StateStopped {
		s.Pid = 0
	}
	return s
}

// sweep removes what killed processes have left half made or half removed.
func (a *app) sweep() {
	entries, err := os.ReadDir(a.root)
	if err != nil {
		return
	}
	for _, e := range entries {
		rest, isNew := strings.CutPrefix(e.Name(), newPrefix)
		rest, isGone := strings.CutPrefix(rest, gonePrefix)
		if !isNew && !isGone {
			continue
		}
		owner, _, _ := strings.Cut(rest, "-")
		if o, err := state.ParseOwner(owner); err == nil && !o.Alive() {
			sys.RemoveAll(filepath.Join(a.root, e.Name()))
		}
	}
}
