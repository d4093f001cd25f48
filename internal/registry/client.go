package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"berth/internal/registry/ref"
)

// Options says how registries are reached. The zero value is what Docker does
// without any configuration.
type Options struct {
	// Mirrors are base addresses that are asked before the registry they
	// are listed under (docker.io for Docker Hub), in order.
	Mirrors map[string][]string
	// Insecure registries (host, host:port or CIDR) need no certificate
	// that can be verified and may speak plain HTTP. Loopback always may.
	Insecure []string
	// Proxies are addresses of HTTP proxies by host[:port], "direct" for none.
	// Hosts that are not listed go by HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
	Proxies map[string]string
	// DockerConfig is the folder of Docker's config.json with credentials;
	// empty means $DOCKER_CONFIG or ~/.docker.
	DockerConfig string
	// CertDirs hold certificates per registry, HOST:PORT/*.crt, *.cert and
	// *.key; nil means Docker's own folders.
	CertDirs []string
	// Account says that the caller is an ordinary account, though it be root
	// of a user namespace.
	Account bool
	// UserAgent is how the client names itself.
	UserAgent string
	// Program is the command named in hints; empty means berth.
	Program string
}

// Client talks to registries. It may be used from many goroutines and
// remembers tokens and which endpoint answered for as long as it lives.
type Client struct {
	opt      Options
	insecure insecureList
	creds    *credentialFile
	http     *http.Client
	patience patience
	chunk    int // bytes in one request of an upload
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)

	mu         sync.Mutex
	endpoints  map[string][]*endpoint // by domain
	preferred  map[string]*endpoint   // by domain: the one that answered
	transports map[string]*http.Transport
}

// patience is how long and how often the client waits for what.
type patience struct {
	dial    time.Duration // for a connection
	tls     time.Duration // for its handshake
	header  time.Duration // for the answer about a small document
	blob    time.Duration // for the first byte of a layer: a caching registry may have to fetch it first
	idle    time.Duration // between bytes
	backoff time.Duration // before the second try, doubled for each further one
	longest time.Duration // the most we wait because a registry asks us to
	tries   int           // without progress
	outage  time.Duration // for a registry that has served us and cannot be reached now
}

// New returns a client. It opens nothing yet.
func New(opt Options) (*Client, error) {
	if opt.UserAgent == "" {
		opt.UserAgent = "berth"
	}
	if opt.Program == "" {
		opt.Program = "berth"
	}
	if opt.CertDirs == nil {
		opt.CertDirs = defaultCertDirs(opt.Account || os.Geteuid() != 0)
	}
	insecure, err := parseInsecure(opt.Insecure)
	if err != nil {
		return nil, err
	}
	c := &Client{
		opt:        opt,
		insecure:   insecure,
		creds:      &credentialFile{dir: opt.DockerConfig},
		endpoints:  map[string][]*endpoint{},
		preferred:  map[string]*endpoint{},
		transports: map[string]*http.Transport{},
		chunk:      chunkSize,
		patience: patience{
			dial: 15 * time.Second, tls: 15 * time.Second, header: time.Minute, blob: 5 * time.Minute,
			idle: 30 * time.Second, backoff: 250 * time.Millisecond, longest: 30 * time.Second, tries: 6, outage: 2 * time.Minute,
		},
	}
	c.dial = (&net.Dialer{Timeout: c.patience.dial, KeepAlive: 15 * time.Second}).DialContext
	c.http = &http.Client{Transport: hostTransport{c}, CheckRedirect: checkRedirect}
	for domain, urls := range opt.Mirrors {
		for _, u := range urls {
			if _, err := c.mirror(u); err != nil {
				return nil, fmt.Errorf("mirror of %s: %w", domain, err)
			}
		}
	}
	return c, nil
}

// Close drops the connections that are kept open for further requests.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.transports {
		t.CloseIdleConnections()
	}
}

// each calls f with the endpoints that serve domain until one succeeds: the
// one that answered last, then mirrors, then the registry itself. On failure
// the error says what all of them said.
func (c *Client) each(ctx context.Context, domain string, f func(*endpoint) error) error {
	eps, err := c.serving(domain)
	if err != nil {
		return err
	}
	var origin error
	var mirrors []mirrorError
	for _, ep := range eps {
		err := f(ep)
		if err == nil {
			c.prefer(domain, ep)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if ep.isMirror {
			mirrors = append(mirrors, mirrorError{ep, err})
		} else {
			origin = err
		}
	}
	return joined(origin, mirrors)
}

type mirrorError struct {
	ep  *endpoint
	err error
}

// without reports whether the mirror works and lacks what was asked for.
func (m mirrorError) without() bool {
	return errors.Is(m.err, ErrNotFound) || errors.Is(m.err, ErrDenied)
}

// joined makes one error of what a registry and its mirrors said. The
// registry's word comes first, unless it could not be had: then the mirror's
// tells more.
func joined(origin error, mirrors []mirrorError) error {
	if len(mirrors) == 0 {
		return origin
	}
	first := origin
	var notes []string
	for _, m := range mirrors {
		switch {
		case first == origin && m.without() && errors.Is(origin, ErrUnreachable):
			first = m.err
			notes = append(notes, "so says "+m.ep.label())
		case m.without():
			notes = append(notes, m.ep.label()+" does not have it")
		default:
			notes = append(notes, m.err.Error())
		}
	}
	if first != origin {
		notes = append(notes, origin.Error())
	}
	return &failure{kind: kindOf(first), cause: errors.Join(first, origin), text: first.Error() + " (" + strings.Join(notes, "; ") + ")"}
}

func kindOf(err error) error {
	var f *failure
	if errors.As(err, &f) {
		return f.kind
	}
	return err
}

// serving returns the endpoints of domain in the order to try them.
func (c *Client) serving(domain string) ([]*endpoint, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	eps := c.endpoints[domain]
	if eps == nil {
		for _, u := range c.opt.Mirrors[domain] {
			ep, err := c.mirror(u)
			if err != nil {
				return nil, err
			}
			eps = append(eps, ep)
		}
		eps = append(eps, c.origin(domain))
		c.endpoints[domain] = eps
	}
	return inFront(eps, c.preferred[domain]), nil
}

func inFront(eps []*endpoint, first *endpoint) []*endpoint {
	if first == nil || eps[0] == first {
		return eps
	}
	out := []*endpoint{first}
	for _, ep := range eps {
		if ep != first {
			out = append(out, ep)
		}
	}
	return out
}

func (c *Client) prefer(domain string, ep *endpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.preferred[domain] = ep
}

// denied is Docker's line for a repository that may be private or missing:
// registries do not say which.
func (c *Client) denied(r ref.Ref, cause error) error {
	text := fmt.Sprintf("pull access denied for %s, repository does not exist or may require '%s login'", r.FamiliarName(), c.opt.Program)
	if cause != nil {
		text += ": " + cause.Error()
	}
	return fail(ErrDenied, cause, "%s", text)
}
