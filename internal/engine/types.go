package engine

import (
	"io"
	"time"

	"berth/internal/images"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// CreateOptions is the request for a new container in Docker's own terms. The
// engine stores Config and HostConfig as given and completes them from the
// image.
type CreateOptions struct {
	Name       string // empty: a name is made up
	Config     *container.Config
	HostConfig *container.HostConfig
	Network    *network.NetworkingConfig
	Platform   string // os/arch[/variant]; empty: the host's
	Pull       string // missing (default), always, never
	PullQuiet  bool
	Progress   images.Progress // hears of the pull; nil is silent
	// StrictLimits refuses every start at which a limit cannot be had.
	StrictLimits bool
	Proxies      map[string]string // of Docker's client settings, see package proxies

	run bool // the caller goes on to start it
}

// Created is the answer to a create request.
type Created struct {
	ID       string
	Name     string
	Warnings []string
}

// ListOptions chooses containers for a listing.
type ListOptions struct {
	All     bool
	Last    int // the newest n, whatever their state; 0 means no such limit
	Size    bool
	Filters map[string][]string // ancestor, before, exited, expose, health, id, label, name, network, publish, since, status, volume
}

// RemoveOptions says how a container goes.
type RemoveOptions struct {
	Force   bool
	Volumes bool // anonymous volumes too
}

// StopOptions says how a container is stopped. Timeout nil means the
// container's own, which defaults to 10 s; negative waits for ever.
type StopOptions struct {
	Signal  string
	Timeout *int // seconds
}

// LogsOptions chooses log lines. Since and Until are zero for no limit; Tail
// is negative for all lines.
type LogsOptions struct {
	Follow     bool
	Tail       int
	Since      time.Time
	Until      time.Time
	Timestamps bool
	Details    bool
	Stdout     io.Writer
	Stderr     io.Writer
}

// ExecOptions is a request to run one more program in a running container.
type ExecOptions struct {
	Cmd         []string
	Env         []string // K=V
	User        string
	WorkingDir  string
	Tty         bool
	Stdin       bool // keep standard input open
	Detach      bool
	Privileged  bool
	ConsoleSize [2]uint // height, width
}

// StartOptions says whether the caller wants to be connected from the first
// byte.
type StartOptions struct {
	Attach      bool // connect output
	Stdin       bool // connect input
	ConsoleSize [2]uint
	Warn        func(text string) // hears what has no effect; nil is deaf
}

func (o StartOptions) warn(texts []string) {
	for _, t := range texts {
		if o.Warn != nil {
			o.Warn(t)
		}
	}
}

// AttachOptions says what an attach to a running container connects.
type AttachOptions struct {
	Stdin bool
	Logs  bool // replay the screen or the last output first
}

// Session is the caller's end of a connection to a program in a container. The
// shim at the other end outlives it: closing a session detaches.
type Session interface {
	// Copy moves bytes between the streams and the program until the
	// program ends or, when in answers [ErrDetached], the caller leaves.
	// In may be nil. With a terminal all output goes to out.
	Copy(in io.Reader, out, err io.Writer) (ExitStatus, error)
	// Resize tells the program's terminal its size.
	Resize(height, width uint) error
	// Signal sends the program a signal by number.
	Signal(sig int) error
	// Close detaches.
	Close() error
}

// ExitStatus is how a program ended.
type ExitStatus struct {
	Code     int
	Detached bool // the caller left, the program goes on
}
