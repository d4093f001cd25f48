package shim

import (
	"time"

	"berth/internal/cgroup"
	"berth/internal/logs"
	"berth/internal/nsinit"
	"berth/internal/state"
)

// Plan is all that a shim needs to know, made by the command.
type Plan struct {
	V          int             `json:"v"`
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	Root       string          `json:"root"`       // data root
	Program    *nsinit.Program `json:"-"`          // follows in a frame of its own
	Namespaces uint64          `json:"namespaces"` // CLONE_NEW* that an exec joins
	Tty        bool            `json:"tty,omitempty"`
	OpenStdin  bool            `json:"openStdin,omitempty"`
	StdinOnce  bool            `json:"stdinOnce,omitempty"`
	Restart    RestartPolicy   `json:"restart"`
	AutoRemove bool            `json:"autoRemove,omitempty"`
	Volumes    []string        `json:"volumes,omitempty"` // anonymous ones, removed with it
	StopSignal int             `json:"stopSignal"`
	Cgroup     *cgroup.Group   `json:"cgroup,omitempty"`
	Log        logs.Options    `json:"log"`
	Health     *Health         `json:"health,omitempty"` // its program follows the plan's in a frame of its own
	// Attributes describe the container in events: image, name, labels.
	Attributes map[string]string `json:"attributes,omitempty"`
	// Attach makes the control connection a client from the first byte.
	Attach bool `json:"attach,omitempty"`
	Stdin  bool `json:"stdin,omitempty"` // the client sends standard input
}

// RestartPolicy is Docker's.
type RestartPolicy struct {
	Name string `json:"name,omitempty"` // no, on-failure, always, unless-stopped
	Max  int    `json:"max,omitempty"`
}

// Health is how to find out whether the container does what it is for: by a
// program in it that ends with 0. A duration of zero is Docker's default.
type Health struct {
	Interval      time.Duration   `json:"interval,omitempty"`      // between checks; 30 s
	Timeout       time.Duration   `json:"timeout,omitempty"`       // of one check; 30 s
	StartPeriod   time.Duration   `json:"startPeriod,omitempty"`   // failures do not count so long, unless one check was good
	StartInterval time.Duration   `json:"startInterval,omitempty"` // between checks in the start period; 5 s
	Retries       int             `json:"retries,omitempty"`       // failures in a row that make it unhealthy; 3
	Program       *nsinit.Program `json:"-"`
}

// What HealthStatus.Status can be.
const (
	Starting  = "starting"
	Healthy   = "healthy"
	Unhealthy = "unhealthy"
)

// HealthStatus is what the checks have found.
type HealthStatus struct {
	Status        string         `json:"status"`
	FailingStreak int            `json:"failingStreak"`
	Log           []HealthResult `json:"log,omitempty"` // the latest five
}

// HealthResult is one check. The exit code is -1 if the program did not end in
// time or could not be started.
type HealthResult struct {
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	ExitCode int       `json:"exitCode"`
	Output   string    `json:"output"` // at most 4,096 bytes
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
	V            int           `json:"v"`
	Phase        string        `json:"phase"`
	Shim         state.Owner   `json:"shim"`
	Init         state.Owner   `json:"init"`
	StartedAt    time.Time     `json:"startedAt"`
	FinishedAt   time.Time     `json:"finishedAt"`
	ExitCode     int           `json:"exitCode"`
	OOMKilled    bool          `json:"oomKilled,omitempty"`
	Error        string        `json:"error,omitempty"`
	RestartCount int           `json:"restartCount,omitempty"`
	Stopped      bool          `json:"stopped,omitempty"` // by a person, not by itself
	Health       *HealthStatus `json:"health,omitempty"`  // nil without health checks
}

// Names of files in a container's folder that the shim shares with commands.
const (
	StatusFile = "state.json"
	SocketFile = "shim.sock"
)
