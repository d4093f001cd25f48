package download

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"berth/internal/state"
)

const (
	// chunkSize is the unit of order, of the journal and of memory.
	chunkSize = 1 << 20
	// smallBlob is up to which size a blob stays in memory and is asked for
	// with one request.
	smallBlob = 4 << 20
)

var (
	// ErrDigest says that what came is not the blob that was asked for.
	ErrDigest = errors.New("content does not match its digest")
	// ErrStale comes with ErrDigest when a part of what was wrong had been left
	// by an earlier try. It is removed now: a new Open starts from nothing and
	// may well succeed.
	ErrStale = errors.New("the part of an earlier try was wrong")
	// ErrClosed is what reading returns after Close.
	ErrClosed = errors.New("download is closed")
)

// Source gives ranges of one blob. Its methods are called from several
// goroutines. Reads of a body end when ctx does.
type Source interface {
	// Range returns bytes [off, off+n) of the blob. whole says that the server
	// ignored the range and sends everything from byte 0.
	Range(ctx context.Context, off, n int64) (body io.ReadCloser, whole bool, err error)
	// Transient reports whether an error of Range or of a body may go away by
	// trying again, and how long the server asks to wait (0: it does not say).
	// A wait means that the server wants fewer requests.
	Transient(err error) (wait time.Duration, ok bool)
}

// Options say which blob, and where to.
type Options struct {
	Dir      string // where part files lie; made when missing
	Digest   string // sha256:…
	Size     int64  // bytes
	Limit    *Limit // shared by all downloads of a pull; nil: one of its own
	Progress func(have int64)
	// Progress is told how many bytes are here, those found from an earlier try
	// included, at most ten times a second, never twice at once.
}

// Download is a blob on its way. Read, NextOwned, Verify, Keep and Close are
// for one goroutine.
type Download struct {
	src    Source
	opt    Options
	tune   tuning
	limit  *Limit
	head   header
	part   *part // nil: a small blob
	caller context.Context
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	out   chan *buffer // what the reader is to have next
	err   error        // why out was closed; io.EOF: all is right
	ended bool         // the reader has seen io.EOF
	small []*buffer    // all of a small blob, for Keep; the feeder's until out is closed

	cur     []byte // Read's piece
	curDone func()

	board
	pace
	writing [16]sync.Mutex // of the chunks, by their number
}

// pace is what the number of connections is decided from.
type pace struct {
	have     atomic.Int64 // bytes here or being received
	received atomic.Int64 // bytes that came over the network
	lastByte atomic.Int64 // when the last of them came, Unix nanoseconds
	starved  atomic.Int64 // nanoseconds the feeder has waited for the network
	hungry   atomic.Int64 // since when it waits now, Unix nanoseconds; 0: it does not
}

// tuning is what tests change.
type tuning struct {
	chunk     int64
	small     int64
	maxSpan   int           // chunks asked for at once
	window    int           // chunks that wait in memory for the reader
	backoff   time.Duration // before the second try, doubled for each further one
	longest   time.Duration // between two tries
	outage    time.Duration // how long nothing may come before it is given up
	stall     time.Duration // how long a connection may be silent
	tick      time.Duration // between two looks at the pace
	hang      time.Duration // when an idle worker helps a silent one
	tries     int           // without progress
	fast      int64         // bytes a second beyond which more connections are no use
	stealLeft time.Duration // what must be left of a span for a half to be worth taking
}

func defaultTuning() tuning {
	return tuning{
		chunk: chunkSize, small: smallBlob, maxSpan: 16, window: 10,
		backoff: 250 * time.Millisecond, longest: 30 * time.Second, outage: 2 * time.Minute,
		stall: 30 * time.Second, tick: 50 * time.Millisecond, hang: 3 * time.Second,
		tries: 6, fast: 600 << 20, stealLeft: 500 * time.Millisecond,
	}
}

// Open starts to bring a blob, or goes on where an earlier try has stopped. It
// waits while another download of the same blob runs.
func Open(ctx context.Context, src Source, opt Options) (*Download, error) {
	return open(ctx, src, opt, defaultTuning())
}

func open(ctx context.Context, src Source, opt Options, tune tuning) (*Download, error) {
	h, err := newHeader(opt, tune)
	if err != nil {
		return nil, err
	}
	d := &Download{src: src, opt: opt, tune: tune, limit: opt.Limit, head: h, caller: ctx, out: make(chan *buffer, 2)}
	if d.limit == nil {
		d.limit = NewLimit(defaultPerBlob, defaultPerBlob)
	}
	d.board.init(h)
	if h.size > tune.small {
		if d.part, err = openPart(ctx, opt.Dir, h, d.found); err != nil {
			return nil, err
		}
	}
	d.have.Store(d.bytesHere())
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	d.wg.Go(d.feed)
	d.ensure()
	return d, nil
}

func newHeader(opt Options, tune tuning) (header, error) {
	h := header{size: opt.Size, chunk: tune.chunk}
	text, ok := strings.CutPrefix(opt.Digest, "sha256:")
	b, err := hex.DecodeString(text)
	if !ok || err != nil || len(b) != len(h.sum) || text != strings.ToLower(text) {
		return h, fmt.Errorf("cannot download blob %q: not a sha256 digest", opt.Digest)
	}
	if opt.Size < 0 || opt.Size > maxBlob {
		return h, fmt.Errorf("cannot download blob %s: %d bytes is no size for one", opt.Digest, opt.Size)
	}
	h.sum = [32]byte(b)
	return h, nil
}

// NextOwned returns the next bytes of the blob, valid until release is called,
// which is to be called once. It returns io.EOF only when size and digest are
// right.
func (d *Download) NextOwned() (b []byte, release func(), err error) {
	if len(d.cur) > 0 {
		b, release = d.cur, d.curDone
		d.cur, d.curDone = nil, nil
		return b, release, nil
	}
	buf, ok := <-d.out
	if !ok {
		d.ended = d.ended || d.err == io.EOF
		return nil, func() {}, d.err
	}
	return buf.data, buf.releaser(), nil
}

// Read implements io.Reader; see NextOwned.
func (d *Download) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(d.cur) == 0 {
		b, release, err := d.NextOwned()
		if err != nil {
			return 0, err
		}
		d.cur, d.curDone = b, release
	}
	n := copy(p, d.cur)
	if d.cur = d.cur[n:]; len(d.cur) == 0 {
		d.curDone()
		d.curDone = nil
	}
	return n, nil
}

// Verify reads what is left and returns what is wrong with the blob, or nil.
// Nonsense in an archive is mostly a blob that is damaged: this tells which.
func (d *Download) Verify() error {
	for {
		_, release, err := d.NextOwned()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		release()
	}
}

// Keep makes the blob, read to io.EOF before, the file at path on the same file
// system, and sees to it that it is on the disk.
func (d *Download) Keep(path string) error {
	if !d.ended {
		return fmt.Errorf("cannot keep blob %s: it is not complete", d.opt.Digest)
	}
	var err error
	if d.part != nil {
		err = d.part.keep(path)
	} else {
		var all []byte
		for _, b := range d.small {
			all = append(all, b.data...)
		}
		err = state.WriteFile(path, all, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot keep blob %s: %w", d.opt.Digest, err)
	}
	return nil
}

// Close ends the download. What has come stays for the next try; after io.EOF,
// and when it is known to be wrong, it goes.
func (d *Download) Close() error {
	d.cancel(ErrClosed)
	for b := range d.out {
		b.release()
	}
	d.wg.Wait()
	if d.curDone != nil {
		d.curDone()
		d.cur, d.curDone = nil, nil
	}
	d.board.clear()
	for _, b := range d.small {
		b.release()
	}
	d.small = nil
	if !d.ended {
		d.err = ErrClosed
	}
	if d.part == nil {
		return nil
	}
	defer func() { d.part = nil }()
	var err error
	if d.ended || d.bytesHere() == 0 {
		err = d.part.remove()
	}
	d.part.close()
	if err != nil {
		return fmt.Errorf("cannot remove the part of blob %s: %w", d.opt.Digest, err)
	}
	return nil
}
