package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// startTricky puts a registry in front of the one at upstream that misbehaves
// in the way that the first element of a repository's name says. "Layer" means
// any blob that is no JSON; "once" is per layer. Some tricks take a number.
//
//	fine/REPO       nothing is wrong
//
//	flip/REPO       one byte of every answer is wrong
//	flip-once/REPO  one byte of the first answer is wrong
//	cut/REPO        nothing behind the middle of a layer ever comes, the connection closes
//	cut-once/REPO   only the first answer ends in the middle
//	reset-N/REPO    twice the connection is reset (RST) where byte N of a layer would be
//	short/REPO      every layer is a byte short and claims to be whole
//	long/REPO       every answer has bytes too many
//	length/REPO     every answer promises 100 bytes more than come
//	flipmanifest/REPO, flipconfig/REPO  a wrong byte there
//	slow/REPO       layers trickle, 64 KiB every 20 ms
//	huge/REPO       a manifest without end
//
//	busy/REPO       429 on the first request of each path, then fine
//	patience/REPO   429 with Retry-After: 1 once; who comes back sooner is counted
//	burst/REPO      503 on the first two requests of each path
//	broken/REPO     500 for everything
//	html/REPO       a friendly web page for everything
//	html-blob/REPO  a friendly web page for every blob
//	gone/REPO       404 for every layer
//	gone-late/REPO  404 from the second request of a layer on
//	refused-late/REPO  403 from the second request of a layer on
//
//	denied/REPO     401 with nothing to log in to
//	expire/REPO     a token is good for two requests of layers, the second ends in the middle
//	away/REPO       a token is asked for; layers are on another host, each address good for two requests
//	loop/REPO       layers redirect in a circle
//
//	norange/REPO    ranges are ignored: always the whole layer
//	norange-late/REPO  ranges are ignored from the second request on
//	norange-416/REPO   ranges are refused with 416
//	norange-bare/REPO  ranges come without a Content-Range
//	range-other/REPO   another range than asked for, and it says so
//	range-lies/REPO    another range than asked for, said to be the one asked for
//	range-total/REPO   the Content-Range tells a wrong size of the whole
//	range-cap-N/REPO   never more than N bytes of a range
//
// What it has seen is told, as JSON, at /seen.
func startTricky(t T, upstream string) string {
	p := &tricky{upstream: upstream, seen: map[string]int{}, tokens: map[string]int{}, since: map[string]time.Time{}}
	p.self = p.serve(t, "127.0.0.1:0", p)
	// Another address of loopback is another host.
	p.other = p.serve(t, "127.0.0.2:0", http.HandlerFunc(p.elsewhere))
	return p.self
}

// Seen is what a tricky registry has noticed of its clients.
type Seen struct {
	Impatient int      // came back sooner than Retry-After said
	Tokens    int      // given out
	Elsewhere int      // requests at the other host
	Leaked    []string // headers that the other host must not get
}

type tricky struct {
	upstream    string
	self, other string // host:port of the registry and of the host it sends clients to

	mu      sync.Mutex
	seen    map[string]int // requests of a path
	tokens  map[string]int // uses of a token, or of an address elsewhere
	since   map[string]time.Time
	noticed Seen
}

// call is one request for something in a repository.
type call struct {
	trick  string // without its number
	number int64
	path   string // what upstream calls it
	n      int    // how often this path was asked for, with this time
	blob   bool
	layer  bool // a blob, and no JSON
}

func (p *tricky) serve(t T, addr string, h http.Handler) string {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}

// times counts the requests for a path.
func (p *tricky) times(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[path]++
	return p.seen[path]
}

func (p *tricky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/seen":
		p.mu.Lock()
		defer p.mu.Unlock()
		json.NewEncoder(w).Encode(p.noticed) // a client that is gone hears nothing
		return
	case "/token":
		p.mu.Lock()
		defer p.mu.Unlock()
		p.noticed.Tokens++
		fmt.Fprintf(w, `{"token":"token-%d","expires_in":300}`, p.noticed.Tokens)
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	if !ok || rest == "" {
		return // the greeting, answered 200
	}
	c := call{n: p.times(r.Method + r.URL.Path)}
	c.trick, c.path, _ = strings.Cut(rest, "/")
	if at := strings.LastIndexByte(c.trick, '-'); at > 0 {
		if n, err := strconv.ParseInt(c.trick[at+1:], 10, 64); err == nil && c.trick != "norange-416" {
			c.trick, c.number = c.trick[:at], n
		}
	}
	c.blob = strings.Contains(c.path, "/blobs/") && r.Method == http.MethodGet
	if !p.instead(w, r, c) {
		p.relay(w, r, c)
	}
}

// instead answers without asking upstream, where the trick is not to.
func (p *tricky) instead(w http.ResponseWriter, r *http.Request, c call) bool {
	switch {
	case c.trick == "broken":
		http.Error(w, "out of order", http.StatusInternalServerError)
	case c.trick == "denied":
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
	case c.trick == "html", c.trick == "html-blob" && c.blob:
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<html>Welcome to the hotel's network!</html>")
	case c.trick == "busy" && c.n == 1:
		w.Header().Set("Retry-After", "0")
		http.Error(w, "too many requests", http.StatusTooManyRequests)
	case c.trick == "burst" && c.n <= 2:
		http.Error(w, "one moment", http.StatusServiceUnavailable)
	case c.trick == "patience" && c.blob && p.tooSoon(r.URL.Path):
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many requests", http.StatusTooManyRequests)
	case c.trick == "huge" && strings.Contains(c.path, "/manifests/"):
		p.endless(w)
	case (c.trick == "expire" || c.trick == "away") && !p.welcome(r, c):
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+p.self+`/token",service="tricky"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"the token has expired"}]}`, http.StatusUnauthorized)
	case c.trick == "loop" && c.blob:
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	case c.trick == "away" && c.blob:
		w.Header().Set("Location", fmt.Sprintf("http://%s/%s?signature=%d", p.other, c.path, c.n))
		w.WriteHeader(http.StatusTemporaryRedirect)
	default:
		return false
	}
	return true
}

// tooSoon reports whether a request comes first, or before the second that the
// first was told to wait.
func (p *tricky) tooSoon(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	first, ok := p.since[path]
	if !ok {
		p.since[path] = time.Now()
		return true
	}
	if time.Since(first) < time.Second {
		// Requests that were on their way already are no impatience: they
		// come within moments.
		if time.Since(first) > 200*time.Millisecond {
			p.noticed.Impatient++
		}
		return true
	}
	return false
}

// welcome reports whether a request has a token that is still good.
func (p *tricky) welcome(r *http.Request, c call) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || !strings.HasPrefix(token, "token-") {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.blob {
		p.tokens[token]++
	}
	return c.trick != "expire" || p.tokens[token] <= 2
}

// lastUse reports whether the token of a request has just been used up.
func (p *tricky) lastUse(r *http.Request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")] == 2
}

// elsewhere is the other host. Its addresses are good for two requests each,
// and the secrets of the registry are none of its business.
func (p *tricky) elsewhere(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.noticed.Elsewhere++
	for _, h := range []string{"Authorization", "Cookie", "Proxy-Authorization"} {
		if r.Header.Get(h) != "" && !slices.Contains(p.noticed.Leaked, h) {
			p.noticed.Leaked = append(p.noticed.Leaked, h)
		}
	}
	p.tokens[r.URL.String()]++
	used := p.tokens[r.URL.String()]
	p.mu.Unlock()
	if used > 2 {
		http.Error(w, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>", http.StatusForbidden)
		return
	}
	p.relay(w, r, call{trick: "fine", path: strings.TrimPrefix(r.URL.Path, "/"), blob: true})
}

// endless sends a manifest until the client has had enough, at most 1 GiB.
func (p *tricky) endless(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	io.WriteString(w, `{"schemaVersion":2,"junk":"`)
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for range 1024 {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
	fmt.Fprint(w, `"}`)
}
