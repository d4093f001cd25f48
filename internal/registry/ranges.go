package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"berth/internal/registry/ref"
)

// Ranges fetches pieces of one blob, several at a time, for a caller that
// puts them together and verifies the whole (package download). What it
// returns is checked against what was asked for, not against the digest.
//
// Registries mostly send to a storage elsewhere, with a signed address that is
// good for some minutes. That address is kept and asked directly, until it is
// no longer accepted.
type Ranges struct {
	client *Client
	ref    ref.Ref
	desc   Descriptor

	mu       sync.Mutex
	eps      []*endpoint // still to try; the first is in use
	failures int         // of the first, since it last was good for something
	notes    []string    // what endpoints given up on said
	served   bool        // the first has sent something
	denied   int         // refusals since then
	storage  string      // address to which the first has sent us
}

// Ranges returns a source of the pieces of a blob. It asks nothing yet.
func (c *Client) Ranges(r ref.Ref, d Descriptor) (*Ranges, error) {
	if err := d.check(); err != nil {
		return nil, fail(ErrUnsupported, err, "cannot fetch from %s: %v", r.FamiliarName(), err)
	}
	eps, err := c.serving(r.Domain)
	if err != nil {
		return nil, err
	}
	return &Ranges{client: c, ref: r, desc: d, eps: eps}, nil
}

// Range returns the bytes [off, off+n) of the blob; whole is set when the
// server sends everything from byte 0 instead. The body ends with io.EOF only
// after as many bytes as it should have. Nothing is tried twice at the same
// place: the caller, who knows about the other pieces, decides that.
func (g *Ranges) Range(ctx context.Context, off, n int64) (body io.ReadCloser, whole bool, err error) {
	if off < 0 || n <= 0 || n > g.desc.Size-off {
		return nil, false, fmt.Errorf("bytes %d to %d of blob %s, which has %d", off, off+n, g.desc.Digest, g.desc.Size)
	}
	for {
		ep, storage, wait := g.now()
		if storage != "" {
			body, whole, err = g.fromStorage(ctx, ep, storage, off, n, wait)
			if err == nil || !g.expired(err, storage) {
				return body, whole, g.settle(ctx, ep, err)
			}
		}
		body, whole, err = g.fromRegistry(ctx, ep, off, n, wait)
		if err == nil || ctx.Err() != nil || !g.giveUp(ep, err) {
			return body, whole, g.settle(ctx, ep, err)
		}
	}
}

// now returns where to ask, and how long to wait for the answer to begin: a
// registry that only mirrors another may have to fetch the blob first.
func (g *Ranges) now() (ep *endpoint, storage string, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wait = g.client.patience.blob
	if g.served {
		wait = g.client.patience.header
	}
	return g.eps[0], g.storage, wait
}

// settle is the last word on a failed try: the caller's own end comes first.
func (g *Ranges) settle(ctx context.Context, ep *endpoint, err error) error {
	switch {
	case err == nil:
		g.client.prefer(g.ref.Domain, ep)
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.notes) > 0 {
		return &failure{kind: kindOf(err), cause: err, text: err.Error() + " (before that: " + strings.Join(g.notes, "; ") + ")"}
	}
	return err
}

// giveUp reports whether to ask the next endpoint at once: there is one, and
// this one lacks the blob or has failed too often.
func (g *Ranges) giveUp(ep *endpoint, err error) bool {
	_, passing := g.Transient(err)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.eps[0] != ep {
		return true // another piece's failure was the last straw
	}
	g.failures++
	if len(g.eps) == 1 || passing && g.failures < g.client.patience.tries {
		return false
	}
	g.notes = append(g.notes, err.Error())
	g.eps = g.eps[1:]
	g.failures, g.served, g.storage = 0, false, ""
	return true
}

// expired forgets an address that is no longer accepted.
func (g *Ranges) expired(err error, storage string) bool {
	var se *statusError
	refused := errors.As(err, &se) && se.code/100 == 4 && !worthRetry(se.code)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.storage == storage {
		g.storage = "" // after any failure: the registry may know a better place
	}
	return refused
}

func (g *Ranges) fromRegistry(ctx context.Context, ep *endpoint, off, n int64, wait time.Duration) (io.ReadCloser, bool, error) {
	resp, err := ep.do(ctx, call{
		method: http.MethodGet,
		path:   g.ref.Path + "/blobs/" + g.desc.Digest,
		scope:  pullScope(g.ref.Path),
		header: g.header(off, n),
		wait:   wait,
		once:   true,
	})
	if err != nil {
		return nil, false, g.missing(ep, err)
	}
	body, whole, err := g.accept(ep, resp, off, n)
	if err == nil && resp.Request.URL.Host != ep.host {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.eps[0] == ep {
			g.storage = resp.Request.URL.String()
		}
	}
	return body, whole, err
}

// fromStorage asks the address that the registry has sent us to before. No
// authorization goes there: it is none of the registry's.
func (g *Ranges) fromStorage(ctx context.Context, ep *endpoint, storage string, off, n int64, wait time.Duration) (io.ReadCloser, bool, error) {
	reqCtx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(reqCtx, http.MethodGet, storage, nil)
	if err != nil {
		cancel(nil)
		return nil, false, err
	}
	for k, v := range g.header(off, n) {
		req.Header.Set(k, v)
	}
	resp, err := g.client.roundTrip(req, cancel, wait)
	if err != nil {
		return nil, false, ep.explain(err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, false, g.missing(ep, readStatus(ep.speaker(resp), resp))
	}
	return g.accept(ep, resp, off, n)
}

// header asks for a range, except for all of the blob: that every server
// understands without.
func (g *Ranges) header(off, n int64) map[string]string {
	if off == 0 && n == g.desc.Size {
		return nil
	}
	return map[string]string{"Range": fmt.Sprintf("bytes=%d-%d", off, off+n-1)}
}

// accept checks that an answer is what was asked for.
func (g *Ranges) accept(ep *endpoint, resp *http.Response, off, n int64) (io.ReadCloser, bool, error) {
	who := ep.speaker(resp)
	whole := resp.StatusCode != http.StatusPartialContent
	length, total := n, g.desc.Size
	if whole {
		length = g.desc.Size
		if resp.ContentLength >= 0 {
			total = resp.ContentLength
		}
	} else {
		first, last, all := contentRange(resp.Header.Get("Content-Range"))
		if all >= 0 {
			total = all
		}
		if total == g.desc.Size && (first != off || last != off+n-1 || resp.ContentLength >= 0 && resp.ContentLength != n) {
			resp.Body.Close()
			return nil, false, fail(ErrRegistry, nil, "%s sends another part of blob %s than was asked for", who, g.desc.Digest)
		}
	}
	if total != g.desc.Size {
		resp.Body.Close()
		return nil, false, fail(ErrDigest, nil, "blob %s from %s has %d bytes, its manifest says %d", g.desc.Digest, who, total, g.desc.Size)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.eps[0] == ep {
		g.served, g.denied = true, 0
	}
	return &piece{ReadCloser: resp.Body, g: g, ep: ep, who: who, left: length}, whole, nil
}

// contentRange reads "bytes 5-9/10"; what is not said is -1.
func contentRange(s string) (first, last, total int64) {
	number := func(s string) int64 {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 {
			return n
		}
		return -1
	}
	unit, s, _ := strings.Cut(s, " ")
	span, all, _ := strings.Cut(s, "/")
	a, b, _ := strings.Cut(span, "-")
	if unit != "bytes" {
		return -1, -1, -1
	}
	return number(a), number(b), number(all)
}

func (g *Ranges) missing(ep *endpoint, err error) error {
	var se *statusError
	if !errors.As(err, &se) || se.atDoor {
		return ep.missing(g.ref, err)
	}
	switch se.code {
	case http.StatusNotFound:
		return fail(ErrNotFound, se, "blob %s of %s not found: %s has lost it", g.desc.Digest, g.ref.FamiliarName(), se.who)
	case http.StatusRequestedRangeNotSatisfiable:
		return fail(ErrDigest, se, "blob %s from %s is shorter than the %d bytes its manifest says", g.desc.Digest, se.who, g.desc.Size)
	}
	if se.who != ep.label() && se.code != http.StatusTooManyRequests {
		return fail(ErrRegistry, se, "%v", se) // the storage knows nothing of who may pull
	}
	return ep.missing(g.ref, se)
}

// maxDenied is how often a registry that has served a blob may refuse it before
// that counts.
const maxDenied = 10

// Transient reports whether an error of Range, or of reading what it returned,
// may go away by trying again, and how long the server asks to wait before
// that. A wait beyond all patience is no reason to try again.
func (g *Ranges) Transient(err error) (wait time.Duration, ok bool) {
	if err == nil || errors.Is(err, context.Canceled) {
		return 0, false
	}
	if errors.Is(err, ErrDenied) {
		// Connections that share a token of few uses take it from each other.
		g.mu.Lock()
		defer g.mu.Unlock()
		g.denied++
		return 0, g.served && g.denied <= maxDenied
	}
	var se *statusError
	if errors.As(err, &se) {
		return se.wait, worthRetry(se.code) && se.wait <= g.client.patience.outage
	}
	return 0, errors.Is(err, ErrUnreachable) && passes(err)
}

// passes reports whether a failure below HTTP may be one of the moment. A
// network that is down is; a certificate or an address does not get better.
func passes(err error) bool {
	var op interface{ Temporary() bool }
	switch {
	case errors.Is(err, errSilent), isTimeout(err), transient(err),
		errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNABORTED),
		errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.ENETDOWN):
		return true
	}
	return errors.As(err, &op) && op.Temporary()
}

// piece is the body of an answer, which has a known length.
type piece struct {
	io.ReadCloser
	g    *Ranges
	ep   *endpoint
	who  string
	got  int64
	left int64
}

func (p *piece) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if p.left == 0 {
		return 0, p.end()
	}
	n, err := p.ReadCloser.Read(b[:min(int64(len(b)), p.left)])
	p.got += int64(n)
	p.left -= int64(n)
	if p.left == 0 {
		p.g.progressed(p.ep)
		return n, nil
	}
	if err == nil {
		return n, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if errors.Is(err, context.Canceled) && !errors.Is(err, errSilent) {
		return n, err
	}
	err = fail(ErrUnreachable, err, "cannot fetch blob %s from %s: %s", p.g.desc.Digest, p.who, p.ep.reading(err))
	if p.got >= progress {
		p.g.progressed(p.ep)
	}
	p.g.broke(p.ep, err)
	return n, err
}

// end looks for bytes beyond the end, which only an answer without a length
// can have.
func (p *piece) end() error {
	var extra [1]byte
	if n, _ := p.ReadCloser.Read(extra[:]); n > 0 {
		return fail(ErrDigest, nil, "blob %s from %s is longer than the %d bytes its manifest says", p.g.desc.Digest, p.who, p.g.desc.Size)
	}
	return io.EOF
}

// progressed notes that an endpoint is good for something.
func (g *Ranges) progressed(ep *endpoint) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.eps[0] == ep {
		g.failures = 0
	}
}

// broke counts a broken connection against an endpoint. Whoever tries next
// goes elsewhere if it was one too many.
func (g *Ranges) broke(ep *endpoint, err error) {
	g.mu.Lock()
	if g.eps[0] == ep {
		g.storage = ""
	}
	g.mu.Unlock()
	g.giveUp(ep, err)
}
