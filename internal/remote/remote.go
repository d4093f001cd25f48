// Package remote has a program of its own talk to registries.
//
// The HTTP client, TLS and the decompressors are half of what berth is linked
// from, and Go pays for all of that at every start, also of commands that pull
// nothing. So all that talks to registries lives in a second program inside the
// first (see package stage). This package is the caller's half of the
// conversation, package serve the other: one request on standard input, then
// events on standard output, a JSON object a line. When standard input ends,
// because the caller cancels or is gone, the program cleans up and ends.
package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"berth/internal/errdef"
	"berth/internal/images"
	"berth/internal/stage"
	"berth/internal/state"
	"berth/internal/store"
)

// Arg0 is the name that the program is started under.
const Arg0 = "berth-remote"

// Unzstd is the argument with which it unpacks zstd and does nothing else.
const Unzstd = stage.Unzstd

// Request is what to do, and for whom. Exactly one verb is given.
type Request struct {
	Root    string `json:"root"`    // data root
	Program string `json:"program"` // what hints call the command
	Version string `json:"version"` // what registries are told
	// DockerConfig is the folder of Docker's client configuration; empty is
	// the account's own.
	DockerConfig string `json:"dockerConfig,omitempty"`
	// Account says that the caller is an ordinary account, whatever id the
	// program has where it works.
	Account bool `json:"account,omitempty"`

	Pull      *images.PullOptions     `json:"pull,omitempty"`
	Push      *images.PushOptions     `json:"push,omitempty"`
	Login     *images.LoginOptions    `json:"login,omitempty"`
	Search    *images.SearchOptions   `json:"search,omitempty"`
	Manifests *images.ManifestOptions `json:"manifests,omitempty"`
	Ping      []string                `json:"ping,omitempty"` // domains of registries
}

// Answer is what a registry says when it is asked whether it is there.
type Answer struct {
	Domain string    `json:"domain"`
	Server string    `json:"server"`        // who answered: the registry or a mirror of it
	Why    string    `json:"why,omitempty"` // it did not answer
	Date   time.Time `json:"date"`          // its clock, zero if it does not say
}

// Event is one line of what the program has to say. The last one carries a
// failure or the result, in the type that the verb has for it.
type Event struct {
	Message string          `json:"message,omitempty"`
	Layer   *Layer          `json:"layer,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Failure *Failure        `json:"failure,omitempty"`
}

// Layer is the progress of one layer, as [images.Progress] has it.
type Layer struct {
	ID      string `json:"id"`
	Status  string `json:"status"`
	Current int64  `json:"current,omitempty"`
	Total   int64  `json:"total,omitempty"`
}

// Failure is an error on its way to another process.
type Failure struct {
	Text     string `json:"text"`
	Kind     string `json:"kind,omitempty"` // of the engine's errors, by its text
	Canceled bool   `json:"canceled,omitempty"`
}

// FailureOf packs an error up.
func FailureOf(err error) *Failure {
	f := &Failure{Text: err.Error(), Canceled: errors.Is(err, context.Canceled)}
	for _, k := range kinds() {
		if errors.Is(err, k) {
			f.Kind = k.Error()
		}
	}
	return f
}

func (f *Failure) unpack() error {
	if f.Canceled {
		return context.Canceled
	}
	for _, k := range kinds() {
		if f.Kind == k.Error() {
			return &errdef.Error{Kind: k, Text: f.Text}
		}
	}
	return errors.New(f.Text)
}

func kinds() []error {
	return []error{errdef.ErrNotFound, errdef.ErrConflict, errdef.ErrInvalid, errdef.ErrNotSupported}
}

var _ images.Remote = (*Client)(nil)

// Client starts the program for each request. It is an [images.Remote].
type Client struct{ req Request }

// New returns a client. Root and verb of req are filled in later.
func New(req Request) *Client { return &Client{req: req} }

// Pull has what opt names fetched and listed in s.
func (c *Client) Pull(ctx context.Context, s *store.Store, opt images.PullOptions) (res images.PullResult, err error) {
	err = c.ask(ctx, s, "the pull of "+opt.Ref, opt.Namespace, opt.Progress, func(r *Request) { r.Pull = &opt }, &res)
	return res, err
}

// Push sends what opt names.
func (c *Client) Push(ctx context.Context, s *store.Store, opt images.PushOptions) (res images.PushResult, err error) {
	err = c.ask(ctx, s, "the push of "+opt.Ref, opt.Namespace, opt.Progress, func(r *Request) { r.Push = &opt }, &res)
	return res, err
}

// Login tries an account.
func (c *Client) Login(ctx context.Context, s *store.Store, opt images.LoginOptions) (res images.LoginResult, err error) {
	err = c.ask(ctx, s, "the login at "+opt.Server, nil, nil, func(r *Request) { r.Login = &opt }, &res)
	return res, err
}

// Search looks for repositories.
func (c *Client) Search(ctx context.Context, s *store.Store, opt images.SearchOptions) (res []images.SearchResult, err error) {
	err = c.ask(ctx, s, "the search for "+opt.Term, nil, nil, func(r *Request) { r.Search = &opt }, &res)
	return res, err
}

// Manifests fetches manifests.
func (c *Client) Manifests(ctx context.Context, s *store.Store, opt images.ManifestOptions) (res []images.ManifestDocument, err error) {
	err = c.ask(ctx, s, "the look at "+opt.Ref, nil, nil, func(r *Request) { r.Manifests = &opt }, &res)
	return res, err
}

// Ping asks registries, all at once, whether they are there. It takes seconds at
// most. Root is the data root, from which the program is started.
func (c *Client) Ping(ctx context.Context, root string, domains []string) (res []Answer, err error) {
	dir, err := state.Open(root)
	if err != nil {
		return nil, err
	}
	err = c.ask(ctx, store.Open(dir), "the look at the registries", nil, nil, func(r *Request) { r.Ping = domains }, &res)
	return res, err
}

// ask starts the program, in the user namespace ns if there is one, hands it the
// request that verb completes, and hears it to the end.
func (c *Client) ask(ctx context.Context, s *store.Store, what string, ns *os.File, progress images.Progress, verb func(*Request), res any) error {
	req := c.req
	req.Root, req.Account = s.Dir().Root(), ns != nil || os.Geteuid() != 0
	verb(&req)
	p, err := launch(stage.Remote(s.Dir()), ns)
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", what, err)
	}
	stop := context.AfterFunc(ctx, func() { p.in.Close() })
	defer stop()
	if err := json.NewEncoder(p.in).Encode(req); err != nil && ctx.Err() == nil {
		p.kill()
	}
	err = listen(p.out, progress, res)
	p.in.Close()
	if err == nil {
		// It may have something left to do for which nobody need wait.
		go p.wait()
		return ctx.Err()
	}
	end, said := p.wait()
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%s ended unexpectedly (%s) %s", what, end, said)
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return err
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// listen passes progress on until the result comes.
func listen(out io.Reader, progress images.Progress, res any) error {
	dec := json.NewDecoder(out)
	for {
		var e Event
		if err := dec.Decode(&e); err != nil {
			return io.ErrUnexpectedEOF
		}
		switch {
		case e.Result != nil:
			return json.Unmarshal(e.Result, res)
		case e.Failure != nil:
			return e.Failure.unpack()
		case progress == nil:
		case e.Layer != nil:
			progress.Layer(e.Layer.ID, e.Layer.Status, e.Layer.Current, e.Layer.Total)
		default:
			progress.Message(e.Message)
		}
	}
}
