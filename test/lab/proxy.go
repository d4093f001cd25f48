package lab

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Far is the way to a registry that is far away: every answer starts late and
// no connection is fast.
type Far struct {
	Upstream    string        // host:port of the registry
	Delay       time.Duration // before the first byte of each answer
	Rate        int64         // bytes a second of each connection; 0: no limit
	IgnoreRange bool          // like a registry that sends the whole blob whatever is asked
}

// Traffic is what has gone through a proxy.
type Traffic struct {
	Connections int              // opened by clients
	Requests    int              // for blobs
	Most        int              // blob requests under way at once
	Longest     int64            // bytes of the longest answer promised
	Blobs       map[string]int64 // bytes sent of each blob, by digest
	Unfinished  int64            // bytes sent in answers that did not reach their end
}

// Bytes is how much was sent of all blobs.
func (t Traffic) Bytes() int64 {
	var n int64
	for _, b := range t.Blobs {
		n += b
	}
	return n
}

// Proxy is a running proxy. It answers GET and HEAD only.
type Proxy struct {
	Addr string // host:port

	far     Far
	client  *http.Client
	mu      sync.Mutex
	now     int // blob requests under way
	traffic Traffic
}

// paceKey finds the pace of a connection in a request's context.
type paceKey struct{}

// StartProxy starts a proxy on loopback; it ends with the test. A script reads
// its traffic, as JSON, from the path /traffic.
func StartProxy(t T, far Far) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), far: far, traffic: Traffic{Blobs: map[string]int64{}}}
	p.client = &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	srv := &http.Server{
		Handler: p,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			p.mu.Lock()
			p.traffic.Connections++
			p.mu.Unlock()
			if tcp, ok := c.(*net.TCPConn); ok && far.Rate > 0 {
				// What is sent must not wait in the kernel, where nobody
				// counts the time.
				tcp.SetWriteBuffer(256 << 10)
			}
			return context.WithValue(ctx, paceKey{}, &pace{rate: far.Rate})
		},
	}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close(); p.client.CloseIdleConnections() })
	return p
}

// Traffic returns what has gone through so far.
func (p *Proxy) Traffic() Traffic {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.traffic
	t.Blobs = make(map[string]int64, len(p.traffic.Blobs))
	for k, v := range p.traffic.Blobs {
		t.Blobs[k] = v
	}
	return t
}

// Settled returns the traffic when nothing is under way any more: a client
// that was killed has its last answers still running for a moment.
func (p *Proxy) Settled(t T) Traffic {
	t.Helper()
	Eventually(t, "the proxy's answers have ended", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.now == 0
	})
	return p.Traffic()
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/traffic" {
		json.NewEncoder(w).Encode(p.Traffic()) // a client that is gone hears nothing
		return
	}
	req, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+p.far.Upstream+r.URL.RequestURI(), nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	req.Header = r.Header.Clone()
	if p.far.IgnoreRange {
		req.Header.Del("Range")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	time.Sleep(p.far.Delay)
	for k, v := range resp.Header {
		if k != "Accept-Ranges" || !p.far.IgnoreRange {
			w.Header()[k] = v
		}
	}
	w.WriteHeader(resp.StatusCode)
	if r.Method == http.MethodHead {
		return
	}
	digest := path.Base(r.URL.Path)
	if !strings.Contains(r.URL.Path, "/blobs/sha256:") {
		digest = ""
	}
	p.send(w, r, resp, digest)
}

// send copies a body at the connection's pace and keeps the books.
func (p *Proxy) send(w http.ResponseWriter, r *http.Request, resp *http.Response, digest string) {
	promised, _ := strconv.ParseInt(resp.Header.Get("Content-Length"), 10, 64)
	var sent int64
	if digest != "" {
		p.mu.Lock()
		p.traffic.Requests++
		p.now++
		p.traffic.Most = max(p.traffic.Most, p.now)
		p.traffic.Longest = max(p.traffic.Longest, promised)
		p.mu.Unlock()
		defer func() {
			p.mu.Lock()
			p.now--
			if sent < promised {
				p.traffic.Unfinished += sent
			}
			p.mu.Unlock()
		}()
	}
	pace := r.Context().Value(paceKey{}).(*pace)
	buf := make([]byte, 128<<10)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			pace.wait(n)
			m, werr := w.Write(buf[:n])
			sent += int64(m)
			if digest != "" {
				p.mu.Lock()
				p.traffic.Blobs[digest] += int64(m)
				p.mu.Unlock()
			}
			if werr != nil {
				return
			}
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler) // the client must see that it was cut
		}
	}
}

// pace keeps one connection at its rate. HTTP/1.1 has one request at a time on
// a connection, so nobody else uses it meanwhile.
type pace struct {
	rate int64
	free time.Time // when what was sent so far will have passed
}

// wait waits until n more bytes may be sent.
func (p *pace) wait(n int) {
	if p.rate <= 0 {
		return
	}
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(int64(n) * int64(time.Second) / p.rate))
	// Sleeping is not exact; being ahead by a little evens out.
	if ahead := p.free.Sub(now); ahead > 2*time.Millisecond {
		time.Sleep(ahead)
	}
}
