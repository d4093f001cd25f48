package engine

import (
	"errors"
	"io/fs"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/cgroup"
	"berth/internal/foreign"
	"berth/internal/roster"
	"berth/internal/shim"
	"berth/internal/spec"
	"berth/internal/state"
)

// record is config.json in a container's folder.
type record = roster.Record

// Short names for what nearly every verb does.
func (e *Engine) containerDir(id string, elem ...string) string { return e.roster.Path(id, elem...) }
func (e *Engine) containerExists(id string) bool                { return e.roster.Exists(id) }
func (e *Engine) find(text string) (string, error)              { return e.roster.Find(text) }
func (e *Engine) lock(id string) (*state.Tx, error)             { return e.roster.Lock(id) }
func (e *Engine) load(id string) (*record, shim.Status, error)  { return e.roster.Load(id) }
func (e *Engine) status(id string) (shim.Status, error)         { return e.roster.Status(id) }
func active(st shim.Status) bool                                { return roster.Active(st) }
func shortID(id string) string                                  { return roster.ShortID(id) }

// bundle is start.json: what an exec and a clean-up have to know of the latest
// start. The specification itself is not kept; the record gives it again.
type bundle struct {
	V          int           `json:"v"`
	Namespaces uint64        `json:"namespaces"` // CLONE_NEW* flags of those that differ from ours
	Group      *cgroup.Group `json:"cgroup,omitempty"`
	// Other is the runtime that has the container instead of our own.
	Other *foreign.Runtime `json:"other,omitempty"`
	IDs   spec.IDs         `json:"ids,omitzero"` // of an account's, with more than its own

	spec *specs.Spec
}

const bundleFile = "start.json"

// Files in a container's folder that are bound into it, and its tree.
const (
	hostsFile    = "hosts"
	resolvFile   = "resolv.conf"
	hostnameFile = "hostname"
	aptFile      = "apt.conf" // see writeAptFile
	upperDir     = "upper"
	workDir      = "work"
	rootfsDir    = "rootfs"
	lockFile     = "lock"
	otherDir     = "bundle" // for another runtime
)

// settle finishes what a killed shim has left: its processes, its cgroup, its
// status. The caller holds the lock, so no shim can come up meanwhile.
func (e *Engine) settle(_ *state.Tx, id string, st shim.Status) error {
	var stored shim.Status
	err := state.ReadJSON(e.containerDir(id, shim.StatusFile), &stored)
	if errors.Is(err, fs.ErrNotExist) || stored.Phase == st.Phase {
		return nil
	}
	if err != nil {
		return err
	}
	stored.Init.Signal(unix.SIGKILL)
	e.noteKilled(id, stored, st)
	e.dropGroup(id)
	os.Remove(e.containerDir(id, shim.SocketFile))
	st.Shim, st.Init = state.Owner{}, state.Owner{}
	return state.WriteJSON(e.containerDir(id, shim.StatusFile), &st)
}

// dropGroup ends what runs in the container's cgroup and removes it. A start
// that was killed may have made one without having kept its name.
func (e *Engine) dropGroup(id string) {
	if b, err := e.bundle(id); err == nil && b.Group != nil {
		b.Group.Remove()
		return
	}
	if facts, err := cgroup.Detect(); err == nil {
		cgroup.Find(id, facts).Remove()
	}
}

func (e *Engine) bundle(id string) (*bundle, error) {
	b := new(bundle)
	return b, state.ReadJSON(e.containerDir(id, bundleFile), b)
}
