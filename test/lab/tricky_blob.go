package lab

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// part is a piece of a blob as upstream has answered it.
type part struct {
	code   int
	header http.Header
	body   []byte
	off    int64 // of the body in the blob
	size   int64 // of the blob
}

// asked returns the range that a request asks for; to is -1 for "to the end".
func asked(r *http.Request) (from, to int64, ok bool) {
	s := r.Header.Get("Range")
	if n, _ := fmt.Sscanf(s, "bytes=%d-%d", &from, &to); n == 2 {
		return from, to, true
	}
	if n, _ := fmt.Sscanf(s, "bytes=%d-", &from); n == 1 {
		return from, -1, true
	}
	return 0, 0, false
}

func rangeOf(from, to int64) string {
	if to < 0 {
		return fmt.Sprintf("bytes=%d-", from)
	}
	return fmt.Sprintf("bytes=%d-%d", from, to)
}

// relay asks upstream and answers with what the trick makes of it.
func (p *tricky) relay(w http.ResponseWriter, r *http.Request, c call) {
	pt, err := p.fetch(r, c)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	c.blob = c.blob && pt.code/100 == 2
	json := bytes.HasPrefix(pt.body, []byte("{")) && pt.off == 0
	c.layer = c.blob && !json
	late := c.layer && c.n > 1
	switch {
	case c.trick == "gone" && c.layer, c.trick == "gone-late" && late:
		http.Error(w, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}`, http.StatusNotFound)
		return
	case c.trick == "refused-late" && late:
		http.Error(w, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`, http.StatusForbidden)
		return
	case c.trick == "norange-416" && c.layer && pt.code == http.StatusPartialContent:
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	promise := p.alter(r, c, pt)
	p.answer(w, r, c, pt, promise)
}

// fetch gets what was asked for, or what the trick sends in its place.
func (p *tricky) fetch(r *http.Request, c call) (*part, error) {
	req, err := http.NewRequest(r.Method, "http://"+p.upstream+"/v2/"+c.path, nil)
	if err != nil {
		return nil, err
	}
	req.Header["Accept"] = r.Header["Accept"]
	if from, to, ok := asked(r); ok && c.blob {
		switch {
		case c.trick == "norange", c.trick == "norange-late" && c.n > 1:
		case c.trick == "range-other", c.trick == "range-lies":
			req.Header.Set("Range", rangeOf(from+1, to))
		case c.trick == "range-cap" && (to < 0 || to-from >= c.number):
			req.Header.Set("Range", rangeOf(from, from+c.number-1))
		default:
			req.Header.Set("Range", rangeOf(from, to))
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	pt := &part{code: resp.StatusCode, header: resp.Header}
	if pt.body, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	pt.size = resp.ContentLength
	var end int64
	if n, _ := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%d", &pt.off, &end, &pt.size); n != 3 {
		pt.off = 0
	}
	return pt, nil
}

// alter spoils a part and returns the length to promise.
func (p *tricky) alter(r *http.Request, c call, pt *part) (promise int64) {
	config := c.blob && !c.layer
	end := pt.off + int64(len(pt.body))
	switch {
	case c.trick == "flipmanifest" && !c.blob && len(pt.body) > 1:
		pt.body[len(pt.body)-2] ^= 1
	case c.trick == "flipconfig" && config, c.trick == "flip" && c.layer, c.trick == "flip-once" && c.layer && c.n == 1:
		pt.body[len(pt.body)/2] ^= 1
	case c.trick == "short" && c.layer:
		if end == pt.size {
			pt.body = pt.body[:len(pt.body)-1]
		}
		pt.size--
		pt.says(pt.off, pt.size)
	case c.trick == "long" && c.layer:
		pt.body = append(pt.body, "and more"...)
	case c.trick == "length" && c.layer:
		return int64(len(pt.body)) + 100
	case c.trick == "norange-bare":
		pt.header.Del("Content-Range")
	case c.trick == "range-lies" && c.layer:
		if from, _, ok := asked(r); ok {
			pt.says(from, pt.size)
		}
	case c.trick == "range-total" && c.layer:
		pt.says(pt.off, pt.size+1000)
	}
	if len(pt.body) == 0 { // HEAD
		return pt.size
	}
	return int64(len(pt.body))
}

// says rewrites what a part claims to be.
func (pt *part) says(off, size int64) {
	if pt.code == http.StatusPartialContent {
		pt.header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, off+int64(len(pt.body))-1, size))
	}
}

func (p *tricky) answer(w http.ResponseWriter, r *http.Request, c call, pt *part, promise int64) {
	for _, h := range []string{"Content-Type", "Docker-Content-Digest", "Content-Range", "Accept-Ranges"} {
		if v := pt.header.Get(h); v != "" {
			w.Header().Set(h, v)
		}
	}
	if promise >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(promise, 10))
	}
	w.WriteHeader(pt.code)
	body := pt.body
	if c.layer && c.trick == "slow" {
		trickle(w, body)
		return
	}
	stop, reset := p.stop(r, c, pt)
	w.Write(body[:stop])
	if reset {
		abort(w)
		return
	}
	if int64(stop) < promise && r.Method != http.MethodHead {
		w.(http.Flusher).Flush()    // what there is arrives
		panic(http.ErrAbortHandler) // closes the connection
	}
}

// stop returns how much of a part is sent, and whether the connection is reset
// then.
func (p *tricky) stop(r *http.Request, c call, pt *part) (n int, reset bool) {
	all := len(pt.body)
	within := func(off int64) int { return int(min(max(off-pt.off, 0), int64(all))) }
	switch {
	case !c.layer:
	case c.trick == "cut":
		return within(pt.size / 2), false
	case c.trick == "cut-once" && c.n == 1, c.trick == "expire" && p.lastUse(r):
		return all / 2, false
	case c.trick == "reset" && c.number >= pt.off && c.number < pt.off+int64(all):
		if p.times("reset "+r.URL.Path) <= 2 {
			return within(c.number), true
		}
	}
	return all, false
}

// abort resets the connection: the peer gets an error in place of an end.
func abort(w http.ResponseWriter) {
	w.(http.Flusher).Flush()
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// trickle sends slowly.
func trickle(w http.ResponseWriter, body []byte) {
	for len(body) > 0 {
		n := min(len(body), 64<<10)
		if _, err := w.Write(body[:n]); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		body = body[n:]
		time.Sleep(20 * time.Millisecond)
	}
}
