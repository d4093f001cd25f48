package engine

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/cgroup"
	"berth/internal/shim"
	"berth/internal/state"
)

// record is config.json in a container's folder: the request as it was made,
// completed from the image. It changes only by a rename of the container.
type record struct {
	V          int                    `json:"v"`
	ID         string                 `json:"id"`
	Name       string                 `json:"name"`
	Created    time.Time              `json:"created"`
	Image      string                 `json:"image"` // as asked for
	ImageID    string                 `json:"imageID"`
	Layers     []string               `json:"layers"` // diff IDs, bottom first
	Driver     string                 `json:"driver"` // overlay or copy
	Platform   string                 `json:"platform"`
	Run        bool                   `json:"run,omitempty"` // made to be started at once
	Mounts     []container.MountPoint `json:"mounts"`
	Anonymous  []string               `json:"anonymousVolumes,omitempty"`
	Fill       []string               `json:"fillVolumes,omitempty"` // when empty, from the image
	Config     *container.Config      `json:"config"`
	HostConfig *container.HostConfig  `json:"hostConfig"`
}

const recordFile = "config.json"

// bundle is start.json: what an exec and a clean-up have to know of the latest
// start. The specification itself is not kept; the record gives it again.
type bundle struct {
	V          int           `json:"v"`
	Namespaces uint64        `json:"namespaces"` // CLONE_NEW* flags of those that differ from ours
	Group      *cgroup.Group `json:"cgroup,omitempty"`

	spec *specs.Spec
}

const bundleFile = "start.json"

// Files in a container's folder that are bound into it, and its tree.
const (
	hostsFile    = "hosts"
	resolvFile   = "resolv.conf"
	hostnameFile = "hostname"
	upperDir     = "upper"
	workDir      = "work"
	rootfsDir    = "rootfs"
	lockFile     = "lock"
)

// Drivers of the container's root file system.
const (
	driverOverlay = "overlay"
	driverCopy    = "copy"
)

func newID() string {
	var b [32]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (e *Engine) containerDir(id string, elem ...string) string {
	return e.dir.Path(append([]string{"containers", id}, elem...)...)
}

func (e *Engine) containerExists(id string) bool {
	_, err := os.Stat(e.containerDir(id))
	return err == nil
}

func (e *Engine) names() *state.Names { return e.dir.Names("names", e.containerExists) }

// find returns the ID of the container that text names: a full ID, a name, or
// the beginning of an ID.
func (e *Engine) find(text string) (string, error) {
	name := strings.TrimPrefix(text, "/")
	if name == "" || strings.Contains(name, "/") {
		return "", noContainer(text)
	}
	if len(name) == 64 && isHex(name) && e.containerExists(name) {
		return name, nil
	}
	if id, err := e.names().Lookup(name); err == nil {
		return id, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if !isHex(name) {
		return "", noContainer(text)
	}
	ids, err := e.containerIDs()
	if err != nil {
		return "", err
	}
	found := ""
	for _, id := range ids {
		if strings.HasPrefix(id, name) {
			if found != "" {
				return "", fmt.Errorf("multiple IDs found with provided prefix: %s: %w", text, ErrInvalid)
			}
			found = id
		}
	}
	if found == "" {
		return "", noContainer(text)
	}
	return found, nil
}

func noContainer(text string) error {
	return &Error{Kind: ErrNotFound, Text: "No such container: " + text}
}

func isHex(s string) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}

// containerIDs lists the folders of containers.
func (e *Engine) containerIDs() ([]string, error) {
	d, err := os.Open(e.dir.Path("containers"))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	ids := names[:0]
	for _, n := range names {
		if len(n) == 64 && isHex(n) {
			ids = append(ids, n)
		}
	}
	return ids, err
}

// load reads a container's record and its status as of now. Its error is that
// of find when the container went away meanwhile.
func (e *Engine) load(id string) (*record, shim.Status, error) {
	r := new(record)
	err := state.ReadJSON(e.containerDir(id, recordFile), r)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, shim.Status{}, noContainer(id)
	}
	if err != nil {
		return nil, shim.Status{}, err
	}
	st, err := e.status(id)
	return r, st, err
}

// status reads state.json and corrects it by what is true now: a container
// whose shim is gone does not run, whatever is written.
func (e *Engine) status(id string) (shim.Status, error) {
	var st shim.Status
	path := e.containerDir(id, shim.StatusFile)
	err := state.ReadJSON(path, &st)
	if errors.Is(err, fs.ErrNotExist) {
		if !e.containerExists(id) {
			return st, noContainer(id)
		}
		return shim.Status{Phase: shim.Created}, nil
	}
	if err != nil {
		return st, err
	}
	if (st.Phase == shim.Running || st.Phase == shim.Restarting) && !st.Shim.Alive() {
		st.Phase = shim.Exited
		st.ExitCode = 128 + int(unix.SIGKILL)
		st.Error = "its shim was killed, or the machine went down"
		if fi, err := os.Stat(path); err == nil && st.FinishedAt.IsZero() {
			st.FinishedAt = fi.ModTime()
		}
	}
	return st, nil
}

func active(st shim.Status) bool { return st.Phase == shim.Running || st.Phase == shim.Restarting }

// lock takes the lock of a container. It must be held to start, remove or
// rename it.
func (e *Engine) lock(id string) (*state.Tx, error) {
	tx, err := state.Lock(e.containerDir(id, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noContainer(id)
	}
	return tx, err
}

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
	if stored.Init.Alive() {
		unix.Kill(stored.Init.Pid, unix.SIGKILL)
	}
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

// shortID is how people see an ID.
func shortID(id string) string {
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

// checkName applies Docker's rule.
func checkName(name string) error {
	ok := len(name) >= 2
	for i, c := range name {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("_.-", c)) {
			ok = false
		}
	}
	if !ok || len(name) > 200 {
		return &Error{Kind: ErrInvalid, Text: fmt.Sprintf("Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)}
	}
	return nil
}

// rel is path relative to the data root.
func (e *Engine) rel(path string) string {
	r, err := filepath.Rel(e.dir.Root(), path)
	if err != nil {
		return path
	}
	return r
}
