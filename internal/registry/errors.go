package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// What callers tell apart. Every error of this package that is not the
// context's wraps one of them.
var (
	ErrNotFound    = errors.New("no such image or platform")
	ErrDenied      = errors.New("access denied")
	ErrUnreachable = errors.New("registry unreachable")
	ErrDigest      = errors.New("content does not match its digest")
	ErrUnsupported = errors.New("unsupported image")
	ErrRegistry    = errors.New("registry failed")
)

// failure is an error whose text is complete: kind tells what it is, cause
// where it came from, and neither adds words of its own.
type failure struct {
	kind  error
	cause error
	text  string
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return []error{f.kind, f.cause} }

func fail(kind, cause error, format string, args ...any) error {
	if cause == nil {
		cause = kind
	}
	return &failure{kind: kind, cause: cause, text: fmt.Sprintf(format, args...)}
}

// statusError is an answer other than the one asked for.
type statusError struct {
	who     string // who gave it: "registry …", "token server …"
	atDoor  bool   // it was the token server
	code    int
	codes   []string // what the registry calls the error, such as MANIFEST_UNKNOWN
	message string   // what it says about it
	wait    time.Duration
	waited  bool // the answer said when to come back
}

func (e *statusError) Error() string {
	text := strings.ToLower(http.StatusText(e.code))
	if text == "" {
		text = "unexpected answer"
	}
	if e.message != "" {
		text = e.message
	}
	return fmt.Sprintf("%s: %s (HTTP status %d)", e.who, text, e.code)
}

func (e *statusError) is(code string) bool {
	for _, c := range e.codes {
		if c == code {
			return true
		}
	}
	return false
}

// errSilent is why a request is cancelled that nobody answers.
var errSilent = errors.New("no answer")

// explain turns what went wrong below HTTP into a line that says what to do.
func (ep *endpoint) explain(err error) error {
	if errors.Is(err, context.Canceled) && !errors.Is(err, errSilent) {
		return err
	}
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	who := ep.label()
	// The address in a url.Error may be a signed one and is not for showing;
	// its host is, when a redirect led there.
	var ue *url.Error
	if errors.As(err, &ue) {
		if u, e := url.Parse(ue.URL); e == nil && u.Host != "" && u.Host != ep.host {
			who = fmt.Sprintf("%s, to which %s sends for content", u.Host, who)
		}
		err = ue.Err
	}
	return fail(ErrUnreachable, err, "cannot reach %s: %s", who, ep.reason(err))
}

func (ep *endpoint) reason(err error) string {
	var (
		dns     *net.DNSError
		op      *net.OpError
		unknown x509.UnknownAuthorityError
		cert    *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return fmt.Sprintf("the proxy fails: %v (check HTTP_PROXY, HTTPS_PROXY and NO_PROXY)", op.Err)
	case errors.Is(err, errSilent), errors.Is(err, context.DeadlineExceeded):
		return "no answer"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused: is a registry running there?"
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("no such host %s: check the name and the network", dns.Name)
	case errors.As(err, &dns):
		return fmt.Sprintf("cannot look up %s: %s", dns.Name, dns.Err)
	case errors.As(err, &unknown):
		return fmt.Sprintf("its certificate is signed by nobody this machine trusts: put the CA into %s or list %q in \"insecure-registries\"", ep.client.caHint(ep.host), ep.host)
	case errors.As(err, &cert):
		return fmt.Sprintf("its certificate is no good: %s (list %q in \"insecure-registries\" to use it all the same)", oneLine(cert.Err.Error()), ep.host)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Sprintf("it speaks plain HTTP: list %q in \"insecure-registries\" to allow that", ep.host)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "the connection was closed without an answer"
	case isTimeout(err):
		return "connection timed out"
	}
	var no syscall.Errno
	if errors.As(err, &no) {
		return no.Error()
	}
	return oneLine(err.Error())
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// transient reports whether a connection that failed so may do better at the
// next try. Refusals and bad certificates do not pass.
func transient(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || strings.Contains(err.Error(), "server closed idle connection")
}

// oneLine makes a text from elsewhere fit for a message: one line, no control
// characters, not endless.
func oneLine(s string) string {
	s = printable(s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

// printable takes out of a stranger's text what terminals obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}
