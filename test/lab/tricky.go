package lab

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// startTricky puts a registry in front of the one at upstream that misbehaves
// in the way that the first element of a repository's name says:
//
//	flip/REPO       one byte of every layer is wrong
//	cut/REPO        every layer ends in the middle, the connection closes
//	cut-once/REPO   only the first try of each layer ends in the middle
//	short/REPO      every layer is a byte short and claims to be whole
//	long/REPO       every layer has bytes too many
//	flipmanifest/REPO, flipconfig/REPO  a wrong byte there
//	slow/REPO       layers trickle, 64 KiB every 20 ms
//	busy/REPO       429 on the first request of each path, then fine
//	broken/REPO     500 for everything
//	html/REPO       a friendly web page for everything
//	huge/REPO       a manifest without end
//	denied/REPO     401 with nothing to log in to
func startTricky(t T, upstream string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: &tricky{upstream: upstream, seen: map[string]int{}}}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}

type tricky struct {
	upstream string
	mu       sync.Mutex
	seen     map[string]int
}

// times counts the requests for a path.
func (p *tricky) times(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[path]++
	return p.seen[path]
}

func (p *tricky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	if !ok || rest == "" {
		return // the greeting, answered 200
	}
	trick, rest, _ := strings.Cut(rest, "/")
	n := p.times(r.URL.Path)
	switch {
	case trick == "broken":
		http.Error(w, "out of order", http.StatusInternalServerError)
		return
	case trick == "denied":
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return
	case trick == "html":
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<html>Welcome to the hotel's network!</html>")
		return
	case trick == "busy" && n == 1:
		w.Header().Set("Retry-After", "0")
		http.Error(w, "too many requests", http.StatusTooManyRequests)
		return
	case trick == "huge" && strings.Contains(rest, "/manifests/"):
		p.endless(w)
		return
	}
	resp, body, err := p.fetch(r, rest)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	blob := strings.Contains(rest, "/blobs/") && r.Method == http.MethodGet && resp.StatusCode/100 == 2
	config := blob && bytes.HasPrefix(body, []byte("{"))
	switch {
	case trick == "flipmanifest" && !blob && len(body) > 0:
		body[len(body)-2] ^= 1
	case trick == "flipconfig" && config, trick == "flip" && blob && !config:
		body[len(body)/2] ^= 1
	case trick == "short" && blob && !config:
		body = body[:len(body)-1]
	case trick == "long" && blob && !config:
		body = append(body, "and more"...)
	}
	p.answer(w, resp, body, trick, blob && !config, n)
}

func (p *tricky) fetch(r *http.Request, rest string) (*http.Response, []byte, error) {
	req, err := http.NewRequest(r.Method, "http://"+p.upstream+"/v2/"+rest, nil)
	if err != nil {
		return nil, nil, err
	}
	for _, h := range []string{"Accept", "Range"} {
		req.Header[h] = r.Header[h]
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

func (p *tricky) answer(w http.ResponseWriter, resp *http.Response, body []byte, trick string, layer bool, n int) {
	for _, h := range []string{"Content-Type", "Docker-Content-Digest", "Content-Range", "Accept-Ranges"} {
		if v := resp.Header.Get(h); v != "" {
			w.Header().Set(h, v)
		}
	}
	size := len(body)
	if size == 0 && resp.ContentLength > 0 { // HEAD
		size = int(resp.ContentLength)
	}
	w.Header().Set("Content-Length", strconv.Itoa(size))
	w.WriteHeader(resp.StatusCode)
	switch {
	case layer && (trick == "cut" || trick == "cut-once" && n == 1):
		w.Write(body[:len(body)/2])
		panic(http.ErrAbortHandler) // closes the connection
	case layer && trick == "slow":
		for len(body) > 0 {
			n := min(len(body), 64<<10)
			if _, err := w.Write(body[:n]); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			body = body[n:]
			time.Sleep(20 * time.Millisecond)
		}
	default:
		w.Write(body)
	}
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
