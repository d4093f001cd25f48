// Package serve is the program that talks to registries, the other half of
// package remote: it reads one request from standard input, carries it out and
// tells how it goes.
package serve

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/config"
	"berth/internal/layer"
	"berth/internal/pull"
	"berth/internal/push"
	"berth/internal/registry"
	"berth/internal/remote"
	"berth/internal/state"
	"berth/internal/store"
)

// Main is the program: it reads a [remote.Request] from in, carries it out, and
// writes [remote.Event] lines to out. It returns the process's exit code.
func Main(in io.Reader, out io.Writer) int {
	if len(os.Args) == 2 && os.Args[1] == remote.Unzstd {
		return unzstd(in, out)
	}
	// Nearly all of the heap is buffers without pointers, which cost nothing
	// to look at: rather often than with twice the memory.
	debug.SetGCPercent(20)
	t := &teller{enc: json.NewEncoder(out), shown: map[string]shown{}}
	var req remote.Request
	dec := json.NewDecoder(in)
	if err := dec.Decode(&req); err != nil {
		return 1 // the caller is gone
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		// Nothing more comes; the end means that nobody waits any more.
		io.Copy(io.Discard, in)
		cancel()
	}()
	res, err := serve(ctx, req, t)
	var raw json.RawMessage
	if err == nil {
		raw, err = json.Marshal(res)
	}
	if err != nil {
		t.tell(remote.Event{Failure: remote.FailureOf(err)})
		return 1
	}
	t.tell(remote.Event{Result: raw})
	if req.Pull != nil {
		settle(req.Root, cmp.Or(req.Pull.Kind, store.Plain))
	}
	return 0
}

// settle brings the layers that have come to disk, now that nobody waits for
// it, and in a way that nobody feels it. The caller does not wait for the end
// of this process and shares no open file with it.
func settle(root string, kind store.Kind) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return
	}
	for fd := range 3 {
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			return
		}
	}
	runtime.LockOSThread() // what follows is said of one thread
	unix.Setsid()          // a terminal that goes away takes nothing along
	unix.Setpriority(unix.PRIO_PROCESS, 0, 19)
	unix.Syscall(unix.SYS_IOPRIO_SET, 1, 0, ioprioIdle)
	dir, err := state.Open(root)
	if err != nil {
		return
	}
	// What fails here is made up for after the next start of the machine.
	_ = layer.OpenKind(dir, kind, nil).Settle(context.Background())
}

// ioprioIdle lets everybody else use the disk first (ioprio_set(2)).
const ioprioIdle = 3 << 13

// serve does what the request's verb says.
func serve(ctx context.Context, req remote.Request, t *teller) (any, error) {
	cfg, err := config.Load("")
	if err != nil {
		return nil, err
	}
	dir, err := state.Open(req.Root)
	if err != nil {
		return nil, err
	}
	opt := registry.Options{
		Mirrors:      cfg.RegistryMirrorsByDomain(),
		Insecure:     cfg.InsecureRegistries,
		Proxies:      cfg.Proxies,
		DockerConfig: req.DockerConfig,
		UserAgent:    "berth/" + req.Version,
		Program:      req.Program,
		Account:      req.Account,
	}
	switch {
	case req.Pull != nil:
		o := *req.Pull
		o.Progress = t
		return pull.New(opt).Pull(ctx, store.Open(dir), o)
	case req.Push != nil:
		o := *req.Push
		o.Progress = t
		return push.New(opt).Push(ctx, store.Open(dir), o)
	case req.Login != nil:
		return login(ctx, opt, *req.Login)
	case req.Search != nil:
		return search(ctx, opt, *req.Search)
	case req.Manifests != nil:
		return manifests(ctx, opt, *req.Manifests)
	case len(req.Ping) > 0:
		return ping(ctx, opt, req.Ping)
	}
	return nil, errors.New("request without a verb")
}

// teller is a [images.Progress] that writes events. Bytes are reported a few
// times a second, whoever looks at them.
type teller struct {
	mu    sync.Mutex
	enc   *json.Encoder
	shown map[string]shown
}

type shown struct {
	status string
	at     time.Time
}

func (t *teller) tell(e remote.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enc.Encode(e) // a caller that is gone is noticed by the end of input
}

func (t *teller) Message(text string) { t.tell(remote.Event{Message: text}) }

func (t *teller) Layer(id, status string, current, total int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := t.shown[id]
	if last.status == status && time.Since(last.at) < 100*time.Millisecond {
		return
	}
	t.shown[id] = shown{status, time.Now()}
	t.enc.Encode(remote.Event{Layer: &remote.Layer{ID: id, Status: status, Current: current, Total: total}})
}
