package pull

import (
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"

	"berth/internal/config"
	"berth/internal/engine"
	"berth/internal/puller"
	"berth/internal/registry"
	"berth/internal/state"
	"berth/internal/store"
)

// Main is the pull program: it reads a [puller.Request] from in, pulls, and
// writes [puller.Event] lines to out. It returns the process's exit code.
func Main(in io.Reader, out io.Writer) int {
	t := &teller{enc: json.NewEncoder(out), shown: map[string]shown{}}
	var req puller.Request
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
	if err != nil {
		t.tell(puller.Event{Failure: puller.FailureOf(err)})
		return 1
	}
	t.tell(puller.Event{Result: &res})
	return 0
}

func serve(ctx context.Context, req puller.Request, t *teller) (engine.PullResult, error) {
	cfg, err := config.Load("")
	if err != nil {
		return engine.PullResult{}, err
	}
	dir, err := state.Open(req.Root)
	if err != nil {
		return engine.PullResult{}, err
	}
	p := New(registry.Options{
		Mirrors:      cfg.RegistryMirrorsByDomain(),
		Insecure:     cfg.InsecureRegistries,
		DockerConfig: req.DockerConfig,
		UserAgent:    "berth/" + req.Version,
		Program:      req.Program,
	})
	return p.Pull(ctx, store.Open(dir), engine.PullOptions{Ref: req.Ref, Platform: req.Platform, AllTags: req.AllTags, Progress: t})
}

// teller is a [engine.Progress] that writes events. Bytes are reported a few
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

func (t *teller) tell(e puller.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enc.Encode(e) // a caller that is gone is noticed by the end of input
}

func (t *teller) Message(text string) { t.tell(puller.Event{Message: text}) }

func (t *teller) Layer(id, status string, current, total int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := t.shown[id]
	if last.status == status && time.Since(last.at) < 100*time.Millisecond {
		return
	}
	t.shown[id] = shown{status, time.Now()}
	t.enc.Encode(puller.Event{Layer: &puller.Layer{ID: id, Status: status, Current: current, Total: total}})
}
