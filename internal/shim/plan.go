package shim

import (
	"os"
	"time"

	"berth/internal/cgroup"
	"berth/internal/foreign"
	"berth/internal/health"
	"berth/internal/logs"
	"berth/internal/network/wire"
	"berth/internal/nsinit"
	"berth/internal/published"
	"berth/internal/state"
)

// Plan is all that a shim needs to know, made by the command.
type Plan struct {
	V          int             `json:"v"`
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	Root       string          `json:"root"`                 // data root
	Program    *nsinit.Program `json:"-"`                    // follows in a frame of its own
	Namespaces uint64          `json:"namespaces"`           // CLONE_NEW* that an exec joins
	SharedPids bool            `json:"sharedPids,omitempty"` // no pid namespace of its own
	Tty        bool            `json:"tty,omitempty"`
	OpenStdin  bool            `json:"openStdin,omitempty"`
	StdinOnce  bool            `json:"stdinOnce,omitempty"`
	Restart    RestartPolicy   `json:"restart"`
	AutoRemove bool            `json:"autoRemove,omitempty"`
	Volumes    []string        `json:"volumes,omitempty"` // anonymous ones, removed with it
	StopSignal int             `json:"stopSignal"`
	Cgroup     *cgroup.Group   `json:"cgroup,omitempty"`
	Log        logs.Options    `json:"log"`
	// Other is another runtime that has the container. It has two programs,
	// which follow in the place of the plan's own.
	Other *foreign.Runtime `json:"other,omitempty"`
	// UserNS are the descriptors of user namespaces that are there already: the
	// container's, and perhaps one inside of it that its programs are in. They
	// follow the programs.
	UserNS []*os.File `json:"-"`
	Given  int        `json:"userNS,omitempty"` // how many
	// Network is what the container has of networks; nil without any that the
	// holder makes. How to start a holder follows the other programs, and the
	// descriptors of the lease (its connection, and an ordinary account's two
	// namespaces) those of UserNS.
	Network *Network   `json:"network,omitempty"`
	Lease   []*os.File `json:"-"`
	Lent    int        `json:"lent,omitempty"`
	Health  *Health    `json:"health,omitempty"` // its program follows the plan's in a frame of its own
	// Attributes describe the container in events: image, name, labels.
	Attributes map[string]string `json:"attributes,omitempty"`
	// Public is shown to other accounts while the container runs; nil: nothing.
	Public *published.Entry `json:"public,omitempty"`
	// Attach makes the control connection a client from the first byte.
	Attach bool `json:"attach,omitempty"`
	Stdin  bool `json:"stdin,omitempty"` // the client sends standard input
}

// programs are those that follow the plan, each in a frame, in this order.
func (p *Plan) programs() []**nsinit.Program {
	list := []**nsinit.Program{&p.Program}
	if p.Other != nil {
		list = []**nsinit.Program{&p.Other.Enclose, &p.Other.Visit}
	}
	if p.Health != nil {
		list = append(list, &p.Health.Program)
	}
	if p.Network != nil {
		list = append(list, &p.Network.Holder)
	}
	return list
}

// userNS are the registers that the namespaces belong in.
func (p *Plan) userNS() map[nsinit.Reg]*os.File {
	regs := map[nsinit.Reg]*os.File{}
	for i, f := range p.UserNS {
		regs[nsinit.RegUserNS+nsinit.Reg(i)] = f
	}
	return regs
}

// Network is a container's part in networks.
type Network struct {
	wire.Join
	// Holder starts another one, when the one that the container has its place
	// from has died.
	Holder *nsinit.Program `json:"-"`
}

// RestartPolicy is Docker's.
type RestartPolicy struct {
	Name string `json:"name,omitempty"` // no, on-failure, always, unless-stopped
	Max  int    `json:"max,omitempty"`
}

// Health is how to find out whether the container does what it is for: by a
// program in it that ends with 0.
type Health struct {
	health.Check
	Program *nsinit.Program `json:"-"`
}

// Phases of a container.
const (
	Created    = "created"
	Running    = "running"
	Paused     = "paused"
	Restarting = "restarting"
	Exited     = "exited"
)

// Status is state.json in the container's folder. The shim writes it while the
// container runs, the command before and after.
type Status struct {
	V            int            `json:"v"`
	Phase        string         `json:"phase"`
	Shim         state.Owner    `json:"shim"`
	Init         state.Owner    `json:"init"`
	StartedAt    time.Time      `json:"startedAt"`
	FinishedAt   time.Time      `json:"finishedAt"`
	ExitCode     int            `json:"exitCode"`
	OOMKilled    bool           `json:"oomKilled,omitempty"`
	Error        string         `json:"error,omitempty"`
	RestartCount int            `json:"restartCount,omitempty"`
	Stopped      bool           `json:"stopped,omitempty"` // by a person, not by itself
	Health       *health.Status `json:"health,omitempty"`  // nil without health checks
}

// Names of files in a container's folder that the shim shares with commands.
const (
	StatusFile = "state.json"
	SocketFile = "shim.sock"
)
