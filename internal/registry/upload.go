package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// chunkSize is how much travels in one request, and so what is sent
	// again when a connection breaks. Two chunks of each upload are in
	// memory: one on its way, one being made.
	chunkSize = 16 << 20
	// chunkShrink is how far chunks shrink to get past a proxy that limits
	// the size of requests.
	chunkShrink = 64
)

// Content is a blob that can be read from its beginning as often as it takes,
// always with the same bytes.
type Content func(ctx context.Context) (io.ReadCloser, error)

// Upload sends a blob. An empty digest is that of whatever comes. It returns
// digest and size of what the registry has taken. Progress hears how many
// bytes have arrived.
//
// The blob travels in chunks. After a broken connection the registry is asked
// how much it has, and the upload goes on there; if it has forgotten the
// upload, it begins anew. Registries that take no chunks get one long request.
func (t *Target) Upload(ctx context.Context, digest string, content Content, progress func(int64)) (Descriptor, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	u := &upload{t: t, digest: digest, content: content, progress: progress, limit: t.client.chunk}
	defer u.close()
	for {
		err := u.run(ctx)
		if err != nil && ctx.Err() == nil && u.isThere(ctx, err) {
			u.where, err = "", nil
		}
		if err == nil {
			return Descriptor{Digest: u.sumDigest(), Size: u.size}, nil
		}
		if ctx.Err() != nil {
			return Descriptor{}, ctx.Err()
		}
		if err = u.again(ctx, err); err != nil {
			return Descriptor{}, err
		}
	}
}

// upload is one blob on its way.
type upload struct {
	t        *Target
	digest   string // what it must have, or empty
	content  Content
	progress func(int64)

	where string // the address of the upload; empty before it has begun
	limit int    // how much goes into one request
	whole bool   // the registry takes no chunks
	begun bool   // a chunk has been taken
	mark  int64  // off at the last failure
	tries int    // failures without progress

	src    *chunks
	off    int64  // what the registry has
	rest   []byte // of the chunk that is on its way, from off on
	last   bool   // nothing comes after rest
	ending bool   // the registry was told that this is all
	body   *wholeBody
	sum    hash.Hash
	size   int64 // of what was read and hashed
}

// isThere reports whether a blob has arrived whose end was not confirmed: the
// answer may be all that was lost.
func (u *upload) isThere(ctx context.Context, err error) bool {
	var se *statusError
	if !u.ending || errors.As(err, &se) && se.code != http.StatusNotFound && !worthRetry(se.code) {
		return false
	}
	there, _ := u.t.Has(ctx, u.sumDigest())
	return there
}

// run sends what is left.
func (u *upload) run(ctx context.Context) error {
	if u.src == nil {
		u.read(ctx)
	}
	if u.where == "" {
		if err := u.start(ctx); err != nil {
			return err
		}
	}
	if u.whole {
		return u.sendWhole(ctx)
	}
	for {
		if len(u.rest) == 0 && !u.last {
			if err := u.next(); err != nil {
				return err
			}
		}
		if u.last && u.off == 0 && len(u.rest) <= u.limit {
			return u.finish(ctx, u.rest) // all of it at once
		}
		if len(u.rest) == 0 {
			return u.finish(ctx, nil)
		}
		if err := u.patch(ctx, u.rest[:min(len(u.rest), u.limit)]); err != nil {
			return err
		}
	}
}

// read begins to read the content, again if need be.
func (u *upload) read(ctx context.Context) {
	if u.src != nil {
		u.src.close()
	}
	u.src = readChunks(ctx, u.content, u.t.client.chunk)
	u.off, u.rest, u.last, u.ending, u.sum, u.size = 0, nil, false, false, sha256.New(), 0
}

// close forgets all that was done.
func (u *upload) close() {
	if u.src != nil {
		u.src.close()
		u.src = nil
	}
	if u.where != "" {
		u.cancel()
	}
}

// next reads a chunk and counts it in.
func (u *upload) next() error {
	b, err := u.src.next()
	if err != nil && err != io.EOF {
		return &ContentError{err}
	}
	u.last = err == io.EOF
	u.sum.Write(b)
	u.size += int64(len(b))
	u.rest = b
	if u.last && u.digest != "" && u.sumDigest() != u.digest {
		return &ContentError{fail(ErrDigest, nil, "blob %s is damaged: its content has the digest %s", u.digest, u.sumDigest())}
	}
	return nil
}

func (u *upload) sumDigest() string { return "sha256:" + hex.EncodeToString(u.sum.Sum(nil)) }

// ContentError says that a content could not be read to its end, or was not
// what it should be: that is not the registry's fault.
type ContentError struct{ Err error }

func (e *ContentError) Error() string { return e.Err.Error() }
func (e *ContentError) Unwrap() error { return e.Err }

// start begins an upload.
func (u *upload) start(ctx context.Context) error {
	resp, err := u.t.ep.do(ctx, u.t.call(http.MethodPost, "/blobs/uploads/"))
	if err != nil {
		return &startError{err}
	}
	defer discard(resp)
	s, err := u.t.session(resp)
	if err != nil {
		return err
	}
	u.where = s.where
	if n, err := strconv.Atoi(resp.Header.Get("OCI-Chunk-Min-Length")); err == nil && n > u.limit {
		u.whole = true
	}
	return nil
}

// startError is of a request that has been tried often enough.
type startError struct{ error }

func (e *startError) Unwrap() error { return e.error }

// session reads the address of an upload from an answer.
func (t *Target) session(resp *http.Response) (*upload, error) {
	where, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" || where.Scheme != "https" && where.Scheme != "http" || where.User != nil {
		return nil, fail(ErrRegistry, err, "%s does not say where to upload to: %q", t.ep.label(), oneLine(resp.Header.Get("Location")))
	}
	if where.Host == resp.Request.URL.Host {
		// A registry behind a TLS proxy may not know that it is.
		where.Scheme = resp.Request.URL.Scheme
	}
	return &upload{t: t, where: where.String()}, nil
}

func (u *upload) call(method string) call {
	q := u.t.call(method, "")
	q.address, q.once, q.wait = u.where, true, u.t.client.patience.blob
	return q
}

// errMiscounts is of a registry that does not put chunks together.
var errMiscounts = fmt.Errorf("%w: wrong count", ErrRegistry)

// patch sends the next part of rest.
func (u *upload) patch(ctx context.Context, b []byte) error {
	q := u.call(http.MethodPatch)
	q.header = map[string]string{
		"Content-Type":  "application/octet-stream",
		"Content-Range": fmt.Sprintf("%d-%d", u.off, u.off+int64(len(b))-1),
	}
	q.body, q.length = reader(b), int64(len(b))
	resp, err := u.t.ep.do(ctx, q)
	if err != nil {
		return err
	}
	defer discard(resp)
	s, err := u.t.session(resp)
	if err != nil {
		return err
	}
	u.where = s.where
	if have, ok := received(resp.Header.Get("Range")); ok && have != u.off+int64(len(b)) {
		return fail(errMiscounts, io.ErrUnexpectedEOF, "%s has %d bytes of an upload, sent were %d", u.t.ep.label(), have, u.off+int64(len(b)))
	}
	u.arrived(len(b))
	u.begun = true
	return nil
}

// arrived counts n more bytes of rest as being there.
func (u *upload) arrived(n int) {
	u.rest = u.rest[n:]
	u.off += int64(n)
	u.progress(u.off)
}

// received reads how much of an upload has arrived from the header Range,
// "0-99" for a hundred bytes. Some registries say "0-0" for nothing at all.
func received(s string) (int64, bool) {
	first, last, ok := strings.Cut(strings.TrimPrefix(s, "bytes="), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if !ok || first != "0" || err != nil || n < 0 {
		return 0, false
	}
	if n == 0 {
		return 0, true
	}
	return n + 1, true
}

// finish says that this is all, with the last bytes.
func (u *upload) finish(ctx context.Context, b []byte) error {
	u.ending = true
	q := u.call(http.MethodPut)
	q.address = withDigest(u.where, u.sumDigest())
	if len(b) > 0 {
		q.header = map[string]string{"Content-Type": "application/octet-stream"}
		q.body, q.length = reader(b), int64(len(b))
	}
	resp, err := u.t.ep.do(ctx, q)
	if err != nil {
		return err
	}
	discard(resp)
	u.where = ""
	u.arrived(len(b))
	return nil
}

func withDigest(where, digest string) string {
	u, err := url.Parse(where)
	if err != nil {
		return where // cannot be: it was made from a parsed one
	}
	// What is there stays as it is, to the letter: it may be signed.
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += "digest=" + url.QueryEscape(digest)
	return u.String()
}

// sendWhole sends all in one request, as long as it takes.
func (u *upload) sendWhole(ctx context.Context) error {
	q := u.call(http.MethodPatch)
	q.header = map[string]string{"Content-Type": "application/octet-stream"}
	q.length = -1
	q.body = func() (io.ReadCloser, error) {
		u.settle() // the first try may have got as far as a demand for a password
		if u.size > 0 {
			u.read(ctx)
		}
		u.body = &wholeBody{u: u, closed: make(chan struct{})}
		return u.body, nil
	}
	resp, err := u.t.ep.do(ctx, q)
	if err == nil {
		discard(resp)
	}
	u.settle()
	if err != nil {
		if u.body != nil && u.body.err != nil {
			return u.body.err
		}
		return err
	}
	s, err := u.t.session(resp)
	if err != nil {
		return err
	}
	u.where = s.where
	if !u.last || len(u.rest) > 0 {
		return fail(ErrUnreachable, io.ErrUnexpectedEOF, "%s has not taken all of an upload", u.t.ep.label())
	}
	return u.finish(ctx, nil)
}

// settle waits until nobody reads the body of a request any more: the HTTP
// client does so on a goroutine of its own.
func (u *upload) settle() {
	if u.body != nil {
		<-u.body.closed
	}
}

// wholeBody is all of the content as the body of a request.
type wholeBody struct {
	u      *upload
	once   sync.Once
	closed chan struct{}
	err    error // of the content
}

func (w *wholeBody) Read(p []byte) (int, error) {
	u := w.u
	for len(u.rest) == 0 {
		if u.last {
			return 0, io.EOF
		}
		if err := u.next(); err != nil {
			w.err = err
			return 0, err
		}
	}
	n := copy(p, u.rest)
	u.arrived(n)
	return n, nil
}

// Close implements io.Closer; the client may call it more than once.
func (w *wholeBody) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

// again decides what to do after a failure: nil to go on, or the error that
// the upload ends with.
func (u *upload) again(ctx context.Context, err error) error {
	var content *ContentError
	var start *startError
	var se *statusError
	switch {
	case errors.As(err, &content):
		return content
	case errors.As(err, &start):
		return u.t.refused(start.error)
	case errors.As(err, &se) && se.code == http.StatusRequestEntityTooLarge && !u.whole && u.limit > u.t.client.chunk/chunkShrink:
		u.limit /= 4
		return nil
	case errors.As(err, &se) && u.refusesChunks(se), errors.Is(err, errMiscounts) && !u.whole:
		u.whole = true
		u.close()
		return nil
	}
	forgotten := se != nil && se.code == http.StatusNotFound && !se.atDoor && u.where != ""
	wait, passing := (&Ranges{client: u.t.client}).Transient(err)
	if u.off-u.mark >= progress {
		u.tries = 0
	}
	u.mark = u.off
	if u.tries++; !forgotten && !passing || u.tries >= u.t.client.patience.tries {
		return u.t.refused(err)
	}
	if err := sleep(ctx, max(wait, u.t.client.patience.backoff<<min(u.tries, 6))); err != nil {
		return err
	}
	if forgotten || u.whole {
		u.close()
		return nil
	}
	u.resume(ctx)
	return nil
}

// refusesChunks reports whether a registry objects to the second chunk in a
// way that one long request may cure.
func (u *upload) refusesChunks(se *statusError) bool {
	if u.whole || se.atDoor || !u.begun && u.off == 0 && u.last {
		return false
	}
	switch se.code {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestedRangeNotSatisfiable, http.StatusNotImplemented, http.StatusLengthRequired:
		return true
	}
	return false
}

// resume asks how much has arrived and goes on there, or from the beginning if
// that cannot be.
func (u *upload) resume(ctx context.Context) {
	resp, err := u.t.ep.do(ctx, u.call(http.MethodGet))
	var se *statusError
	switch {
	case errors.As(err, &se) && !se.atDoor:
		u.close()
		return
	case err != nil:
		return // the next try tells
	}
	defer discard(resp)
	if s, err := u.t.session(resp); err == nil {
		u.where = s.where
	}
	have, ok := received(resp.Header.Get("Range"))
	if !ok || have < u.off || have > u.off+int64(len(u.rest)) {
		u.close()
		return
	}
	u.arrived(int(have - u.off))
}

// cancel tells the registry that nothing more comes.
func (u *upload) cancel() {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Second)
	defer stop()
	if resp, err := u.t.ep.do(ctx, u.call(http.MethodDelete)); err == nil {
		discard(resp)
	}
	u.where = ""
}
