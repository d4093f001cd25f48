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
	"strconv"
	"strings"
	"time"

	"berth/internal/registry/ref"
)

// Blob streams a layer or configuration. The stream ends with io.EOF only when
// its size and digest are what d says; a connection that breaks is taken up
// again where it broke, at another endpoint if need be. Who stops reading
// before the end has verified nothing.
func (c *Client) Blob(ctx context.Context, r ref.Ref, d Descriptor) (io.ReadCloser, error) {
	eps, err := c.serving(r.Domain)
	if err != nil {
		return nil, err
	}
	return c.openBlob(ctx, eps, r, d)
}

func (c *Client) openBlob(ctx context.Context, eps []*endpoint, r ref.Ref, d Descriptor) (io.ReadCloser, error) {
	if err := d.check(); err != nil {
		return nil, fail(ErrUnsupported, err, "cannot fetch from %s: %v", r.FamiliarName(), err)
	}
	b := &blob{ctx: ctx, client: c, eps: eps, ref: r, desc: d, sum: sha256.New()}
	if d.Size > 0 {
		if err := b.open(); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// progress is how many bytes must have come for a broken connection to count
// as a new misfortune and not as one more of the same.
const progress = 256 << 10

type blob struct {
	ctx    context.Context
	client *Client
	eps    []*endpoint // still to try; the first is in use
	ref    ref.Ref
	desc   Descriptor

	body     io.ReadCloser // nil between connections
	off      int64         // bytes delivered
	mark     int64         // off at the last failure
	failures int           // since there was progress
	sum      hash.Hash
	err      error    // why it ended
	notes    []string // what endpoints given up on said
}

func (b *blob) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for b.err == nil {
		if b.off == b.desc.Size {
			b.err = b.finish()
			break
		}
		if b.body == nil {
			if b.err = b.open(); b.err != nil {
				break
			}
		}
		n, err := b.body.Read(p[:min(int64(len(p)), b.desc.Size-b.off)])
		if n > 0 {
			b.sum.Write(p[:n])
			b.off += int64(n)
		}
		if err != nil && b.off < b.desc.Size {
			b.err = b.broke(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, b.err
}

// finish checks that the stream ends where it should and is what it should be.
func (b *blob) finish() error {
	if b.body != nil {
		var extra [1]byte
		n, _ := b.body.Read(extra[:])
		b.drop()
		if n > 0 {
			return fail(ErrDigest, nil, "blob %s from %s is longer than the %d bytes its manifest says", b.desc.Digest, b.eps[0].label(), b.desc.Size)
		}
	}
	if got := "sha256:" + hex.EncodeToString(b.sum.Sum(nil)); got != b.desc.Digest {
		from := "nowhere"
		if len(b.eps) > 0 {
			from = b.eps[0].label()
		}
		return fail(ErrDigest, nil, "blob %s from %s is damaged: its content has the digest %s", b.desc.Digest, from, got)
	}
	return io.EOF
}

// broke notes that the connection is lost and says whether that is the end.
func (b *blob) broke(err error) error {
	b.drop()
	if b.ctx.Err() != nil {
		return b.ctx.Err()
	}
	if b.off-b.mark >= progress {
		b.failures = 0
	}
	b.mark = b.off
	b.failures++
	if b.failures < b.client.patience.tries {
		return nil
	}
	if err == io.EOF {
		// It ends early and says that this is the end, again and again.
		err = fail(ErrDigest, nil, "blob %s from %s ends after %d bytes, its manifest says %d", b.desc.Digest, b.eps[0].label(), b.off, b.desc.Size)
	} else {
		err = fail(ErrUnreachable, err, "cannot fetch blob %s from %s: after %d of %d bytes: %s (tried %d times)",
			b.desc.Digest, b.eps[0].label(), b.off, b.desc.Size, b.eps[0].reading(err), b.failures)
	}
	return b.giveUp(err)
}

// giveUp moves on to the next endpoint, or returns the error of the last.
func (b *blob) giveUp(err error) error {
	if len(b.eps) > 1 {
		b.notes = append(b.notes, err.Error())
		b.eps = b.eps[1:]
		b.failures = 0
		return nil
	}
	if len(b.notes) > 0 {
		return &failure{kind: kindOf(err), cause: err, text: err.Error() + " (before that: " + strings.Join(b.notes, "; ") + ")"}
	}
	return err
}

// open connects so that the next byte read is the one at b.off.
func (b *blob) open() error {
	p := b.client.patience
	begun := time.Now()
	for refused := 0; ; {
		if n := b.failures + refused; n > 0 {
			if err := sleep(b.ctx, min(p.backoff<<min(n-1, 10), p.longest/4)); err != nil {
				return err
			}
		}
		err := b.connect()
		if err == nil {
			return nil
		}
		if b.ctx.Err() != nil {
			return b.ctx.Err()
		}
		// The network may come back, a registry may be restarting: what we
		// have is worth some waiting.
		if errors.Is(err, ErrUnreachable) && b.off > 0 && time.Since(begun) < p.outage {
			refused++
			continue
		}
		if err := b.giveUp(err); err != nil {
			return err
		}
		begun, refused = time.Now(), 0
	}
}

func (b *blob) connect() error {
	ep := b.eps[0]
	q := call{
		method: http.MethodGet,
		path:   b.ref.Path + "/blobs/" + b.desc.Digest,
		scope:  pullScope(b.ref.Path),
		wait:   b.client.patience.blob,
	}
	if b.off > 0 {
		q.header = map[string]string{"Range": fmt.Sprintf("bytes=%d-", b.off)}
	}
	resp, err := ep.do(b.ctx, q)
	if err != nil {
		return b.missing(err)
	}
	whole := resp.StatusCode != http.StatusPartialContent
	switch {
	case whole && resp.ContentLength >= 0 && resp.ContentLength != b.desc.Size:
		resp.Body.Close()
		return fail(ErrDigest, nil, "blob %s from %s has %d bytes, its manifest says %d", b.desc.Digest, ep.label(), resp.ContentLength, b.desc.Size)
	case !whole && rangeStart(resp.Header.Get("Content-Range")) != b.off:
		resp.Body.Close()
		return fail(ErrRegistry, nil, "%s sends another part of blob %s than was asked for", ep.label(), b.desc.Digest)
	}
	b.body = resp.Body
	if whole && b.off > 0 {
		// The registry cannot send a part: what we have comes again.
		if _, err := io.CopyN(io.Discard, b.body, b.off); err != nil {
			b.drop()
			return fail(ErrUnreachable, err, "cannot fetch blob %s from %s: %s", b.desc.Digest, ep.label(), ep.reading(err))
		}
	}
	return nil
}

func (b *blob) missing(err error) error {
	ep := b.eps[0]
	var se *statusError
	if errors.As(err, &se) && se.code == http.StatusNotFound && !se.atDoor {
		return fail(ErrNotFound, se, "blob %s of %s not found: %s has lost it", b.desc.Digest, b.ref.FamiliarName(), ep.label())
	}
	return ep.missing(b.ref, err)
}

// rangeStart reads where a part begins, "bytes 5-9/10", or returns -1.
func rangeStart(s string) int64 {
	s, ok := strings.CutPrefix(s, "bytes ")
	first, _, ok2 := strings.Cut(s, "-")
	n, err := strconv.ParseInt(first, 10, 64)
	if !ok || !ok2 || err != nil {
		return -1
	}
	return n
}

func (b *blob) drop() {
	if b.body != nil {
		b.body.Close()
		b.body = nil
	}
}

// Close ends the transfer.
func (b *blob) Close() error {
	b.drop()
	if b.err == nil {
		b.err = errors.New("blob is closed")
	}
	return nil
}
