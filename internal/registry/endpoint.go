package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"berth/internal/registry/ref"
)

// endpoint is one server that answers for a registry: the registry itself or
// a mirror of it.
type endpoint struct {
	client   *Client
	host     string // host[:port]
	prefix   string // path before /v2/, mostly empty
	isMirror bool
	auth     auth

	mu      sync.Mutex
	schemes []string // to try in order; one when it is settled
}

// origin returns the endpoint that is the registry of domain itself.
func (c *Client) origin(domain string) *endpoint {
	host := domain
	if domain == ref.DefaultDomain {
		host = "registry-1.docker.io"
	}
	ep := &endpoint{client: c, host: host, schemes: []string{"https"}}
	switch {
	case isLoopback(host):
		// Plain HTTP is the rule there, and a server that wants TLS says
		// so at once, which cannot be said of the other way round.
		ep.schemes = []string{"http", "https"}
	case c.insecure.has(host):
		// Elsewhere TLS comes first, or a password could be read by all.
		ep.schemes = []string{"https", "http"}
	}
	ep.auth = auth{ep: ep, server: domain}
	return ep
}

// mirror returns the endpoint at a configured address.
func (c *Client) mirror(address string) (*endpoint, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not an address such as https://mirror.example", address)
	}
	ep := &endpoint{client: c, host: u.Host, prefix: strings.Trim(u.Path, "/"), isMirror: true, schemes: []string{u.Scheme}}
	if ep.prefix != "" {
		ep.prefix += "/"
	}
	ep.auth = auth{ep: ep, server: u.Host}
	return ep, nil
}

// label names the endpoint in messages.
func (ep *endpoint) label() string {
	if ep.isMirror {
		return "mirror " + ep.host
	}
	return "registry " + ep.host
}

func isLoopback(host string) bool {
	name := hostname(host)
	if name == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap().IsLoopback()
}

// hostname cuts the port off.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

// call is one question to an endpoint.
type call struct {
	method  string
	version string // of the protocol; empty: v2/
	path    string // below it
	query   string
	address string // in place of path and query: where the registry has sent us
	header  map[string]string
	scope   string // the access that it needs
	wait    time.Duration
	once    bool // do not ask again when it fails
	// body returns what is sent, from its beginning; nil sends nothing. Its
	// length is negative when it is not known.
	body   func() (io.ReadCloser, error)
	length int64
}

// do asks and returns the answer when it is one of success; else an error
// that tells who failed how. A registry that is busy or stumbles is asked
// again a few times.
func (ep *endpoint) do(ctx context.Context, q call) (*http.Response, error) {
	p := ep.client.patience
	for try := 1; ; try++ {
		resp, err := ep.authorized(ctx, q)
		if err == nil && resp.StatusCode < 300 {
			return resp, nil
		}
		if err == nil {
			err = readStatus(ep.speaker(resp), resp)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		wait := p.backoff << try
		var se *statusError
		switch {
		case !errors.As(err, &se):
			if try >= 3 || q.once || !transient(err) {
				return nil, ep.explain(err)
			}
		case !worthRetry(se.code) || try >= 4 || q.once:
			return nil, se
		case se.waited:
			if wait = se.wait; wait > p.longest {
				return nil, se
			}
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// own reports whether a call goes to the endpoint itself.
func (ep *endpoint) own(q call) bool {
	if q.address == "" {
		return true
	}
	u, err := url.Parse(q.address)
	return err == nil && strings.TrimSuffix(u.Host, ":443") == strings.TrimSuffix(ep.host, ":443")
}

// speaker names who gave an answer: the endpoint, or a host that it sends to.
func (ep *endpoint) speaker(resp *http.Response) string {
	if host := resp.Request.URL.Host; host != ep.host {
		return host + ", to which " + ep.label() + " sends for content"
	}
	return ep.label()
}

func worthRetry(code int) bool {
	switch code {
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readStatus reads what a registry says with an answer that is no success.
func readStatus(who string, resp *http.Response) *statusError {
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	e := &statusError{who: who, code: resp.StatusCode}
	e.wait, e.waited = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	var doc struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
		Details string `json:"details"`
		Message string `json:"message"`
	}
	if json.Unmarshal(b, &doc) == nil {
		e.message = oneLine(doc.Details + doc.Message)
		for i, d := range doc.Errors {
			e.codes = append(e.codes, d.Code)
			if i == 0 && d.Message != "" {
				e.message = oneLine(d.Message)
			}
		}
	} else if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		e.message = oneLine(string(b))
	}
	return e
}

// retryAfter reads the header of that name: seconds or a date.
func retryAfter(s string, now time.Time) (time.Duration, bool) {
	if n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(0, t.Sub(now)), true
	}
	return 0, false
}

// send makes one request, with the scheme that the endpoint turns out to
// speak.
func (ep *endpoint) send(ctx context.Context, q call, authorization string) (*http.Response, error) {
	ep.mu.Lock()
	if len(ep.schemes) == 1 {
		scheme := ep.schemes[0]
		ep.mu.Unlock()
		return ep.sendBy(ctx, scheme, q, authorization)
	}
	defer ep.mu.Unlock() // others wait until it is settled
	var first error
	var refusal *http.Response // what a TLS server says to plain HTTP, or a registry that means it
	for i, scheme := range ep.schemes {
		resp, err := ep.sendBy(ctx, scheme, q, authorization)
		if err == nil && i == 0 && scheme == "http" && resp.StatusCode == http.StatusBadRequest {
			refusal = resp
			continue
		}
		if err == nil {
			discard(refusal)
			ep.schemes = []string{scheme}
			return resp, nil
		}
		if ctx.Err() != nil {
			discard(refusal)
			return nil, err
		}
		if first == nil || errors.Is(first, http.ErrSchemeMismatch) {
			first = err
		}
	}
	if refusal != nil {
		return refusal, nil
	}
	return nil, first
}

func discard(resp *http.Response) {
	if resp != nil {
		io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
		resp.Body.Close()
	}
}

func (ep *endpoint) sendBy(ctx context.Context, scheme string, q call, authorization string) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	address := q.address
	if address == "" {
		version := q.version
		if version == "" {
			version = "v2/"
		}
		address = scheme + "://" + ep.host + "/" + ep.prefix + version + q.path
		if q.query != "" {
			address += "?" + q.query
		}
	}
	req, err := http.NewRequestWithContext(ctx, q.method, address, nil)
	if err == nil && q.body != nil {
		req.GetBody, req.ContentLength = q.body, q.length
		req.Body, err = q.body()
	}
	if err != nil {
		cancel(nil)
		return nil, err
	}
	for k, v := range q.header {
		req.Header.Set(k, v)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	return ep.client.roundTrip(req, cancel, q.wait)
}

// roundTrip makes a request and gives up when no answer begins in time. The
// body of the answer cancels the request when it is closed.
func (c *Client) roundTrip(req *http.Request, cancel context.CancelCauseFunc, wait time.Duration) (*http.Response, error) {
	if wait == 0 {
		wait = c.patience.header
	}
	req.Header.Set("User-Agent", c.opt.UserAgent)
	alarm := time.AfterFunc(wait, func() { cancel(errSilent) })
	var answered atomic.Bool
	if open := req.GetBody; open != nil {
		// What the other side takes is a sign of life, too.
		taken := func() {
			if !answered.Load() {
				alarm.Reset(wait)
			}
		}
		req.Body = &sending{req.Body, taken}
		req.GetBody = func() (io.ReadCloser, error) {
			b, err := open()
			return &sending{b, taken}, err
		}
	}
	resp, err := c.http.Do(req)
	answered.Store(true)
	alarm.Stop()
	if err != nil {
		if context.Cause(req.Context()) == errSilent {
			err = fmt.Errorf("%w within %v", errSilent, wait)
		}
		cancel(nil)
		return nil, err
	}
	resp.Body = &body{ReadCloser: resp.Body, cancel: cancel, idle: c.patience.idle}
	return resp, nil
}

// sending is the body of a request that tells when more of it is wanted.
type sending struct {
	io.ReadCloser
	taken func()
}

func (s *sending) Read(p []byte) (int, error) {
	s.taken()
	return s.ReadCloser.Read(p)
}

// body is the body of an answer that fails when no byte comes for a while.
type body struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
	idle   time.Duration
	alarm  *time.Timer
}

func (b *body) Read(p []byte) (int, error) {
	// The clock runs only while we wait: a slow reader is not the
	// registry's fault.
	if b.alarm == nil {
		b.alarm = time.AfterFunc(b.idle, func() { b.cancel(errSilent) })
	} else {
		b.alarm.Reset(b.idle)
	}
	n, err := b.ReadCloser.Read(p)
	if !b.alarm.Stop() && err != nil && err != io.EOF {
		err = errSilent
	}
	return n, err
}

func (b *body) Close() error {
	b.cancel(nil)
	return b.ReadCloser.Close()
}

// checkRedirect keeps credentials with the host that they are for: the
// storage that registries send to needs none, and anybody may own it.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("it redirects in a circle")
	}
	if req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme {
		req.Header.Del("Authorization")
	}
	req.Header.Del("Referer")
	return nil
}
