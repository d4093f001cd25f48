package download

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const helperEnv = "BERTH_DOWNLOAD_TEST_HELPER"

func TestMain(m *testing.M) {
	if job := os.Getenv(helperEnv); job != "" {
		os.Exit(helper(strings.Fields(job)))
	}
	os.Exit(m.Run())
}

// noise returns n bytes that no two chunks have in common.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 7})
	r.Read(b)
	return b
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ask is one request to a fake, which a hook may spoil.
type ask struct {
	n       int   // how many came before
	off     int64 // what is asked for
	length  int64
	fail    error // the answer is this error
	whole   bool  // the range is ignored
	cut     int64 // the body ends after so many bytes (-1: it does not)
	cutWith error // with this; nil: io.EOF
	data    []byte
	extra   []byte        // follows the body
	delay   time.Duration // before the first byte
	piece   int           // bytes at once
	pause   time.Duration // between pieces
	hang    int64         // after so many bytes nothing comes any more (-1: it does)
}

var (
	errReset   = errors.New("connection reset")
	errRefused = errors.New("refused")
)

type tooMany struct{ wait time.Duration }

func (e tooMany) Error() string { return "too many requests" }

// fake is a Source in memory.
type fake struct {
	data []byte
	hook func(*ask)

	mu     sync.Mutex
	asks   []ask
	served atomic.Int64 // bytes that bodies gave
	open   atomic.Int64 // bodies
	most   int64        // of them at once
}

func (f *fake) Range(ctx context.Context, off, n int64) (io.ReadCloser, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	a := ask{off: off, length: n, cut: -1, hang: -1, data: f.data, piece: 1 << 20}
	f.mu.Lock()
	a.n = len(f.asks)
	f.asks = append(f.asks, a)
	if f.hook != nil {
		f.hook(&a)
	}
	f.mu.Unlock()
	if a.delay > 0 {
		if err := sleep(ctx, a.delay); err != nil {
			return nil, false, err
		}
	}
	if a.fail != nil {
		return nil, false, a.fail
	}
	if off < 0 || n <= 0 || off+n > int64(len(f.data)) {
		return nil, false, fmt.Errorf("nonsense: %d bytes at %d of %d", n, off, len(f.data))
	}
	content := a.data
	if !a.whole {
		content = content[off : off+n]
	}
	content = append(content[:len(content):len(content)], a.extra...)
	f.mu.Lock()
	f.most = max(f.most, f.open.Add(1))
	f.mu.Unlock()
	return &fakeBody{f: f, ctx: ctx, a: a, r: bytes.NewReader(content), closed: make(chan struct{})}, a.whole, nil
}

func (f *fake) Transient(err error) (time.Duration, bool) {
	var t tooMany
	if errors.As(err, &t) {
		return t.wait, true
	}
	return 0, errors.Is(err, errReset)
}

func (f *fake) requests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asks)
}

type fakeBody struct {
	f      *fake
	ctx    context.Context
	a      ask
	r      *bytes.Reader
	n      int64
	closed chan struct{}
	once   sync.Once
}

func (b *fakeBody) Read(p []byte) (int, error) {
	select {
	case <-b.closed:
		return 0, errors.New("read of a closed body")
	default:
	}
	if b.a.pause > 0 && b.n > 0 {
		if err := sleep(b.ctx, b.a.pause); err != nil {
			return 0, err
		}
	}
	p = p[:min(len(p), b.a.piece)]
	if b.a.hang >= 0 {
		if b.n >= b.a.hang {
			<-b.closed // as a connection does, whatever becomes of the context
			return 0, errors.New("read of a closed body")
		}
		p = p[:min(int64(len(p)), b.a.hang-b.n)]
	}
	if b.a.cut >= 0 {
		if b.n >= b.a.cut {
			if b.a.cutWith != nil {
				return 0, b.a.cutWith
			}
			return 0, io.EOF
		}
		p = p[:min(int64(len(p)), b.a.cut-b.n)]
	}
	n, err := b.r.Read(p)
	b.n += int64(n)
	b.f.served.Add(int64(n))
	return n, err
}

func (b *fakeBody) Close() error {
	b.once.Do(func() {
		close(b.closed)
		b.f.open.Add(-1)
	})
	return nil
}

// quick is a tuning for tests: small chunks and no patience.
func quick() tuning {
	t := defaultTuning()
	t.chunk, t.small = 4<<10, 8<<10
	t.backoff, t.longest, t.outage = time.Millisecond, 4*time.Millisecond, 50*time.Millisecond
	t.tick = time.Millisecond
	return t
}

// desk is a place to download to.
type desk struct {
	t     *testing.T
	dir   string
	src   *fake
	tune  tuning
	limit *Limit
}

func newDesk(t *testing.T, size int) *desk {
	return &desk{t: t, dir: t.TempDir(), src: &fake{data: noise(size, uint64(size))}, tune: quick(), limit: NewLimit(0, 0)}
}

func (k *desk) options() Options {
	return Options{Dir: k.dir, Digest: digestOf(k.src.data), Size: int64(len(k.src.data)), Limit: k.limit}
}

func (k *desk) open(ctx context.Context) *Download {
	k.t.Helper()
	d, err := open(ctx, k.src, k.options(), k.tune)
	if err != nil {
		k.t.Fatal(err)
	}
	return d
}

// close closes d and sees to it that nothing of it is left in this process.
func (k *desk) close(d *Download) {
	k.t.Helper()
	if err := d.Close(); err != nil {
		k.t.Error(err)
	}
	if b, _, err := d.NextOwned(); b != nil || err == nil {
		k.t.Errorf("after Close: %d bytes, %v", len(b), err)
	}
	k.idle()
}

func (k *desk) idle() {
	k.t.Helper()
	if l := k.limit; l.used != 0 || l.out != 0 || len(l.queue) != 0 {
		k.t.Errorf("left: %d connections, %d buffers, %d in the queue", l.used, l.out, len(l.queue))
	}
	if n := k.src.open.Load(); n != 0 {
		k.t.Errorf("left: %d bodies", n)
	}
}

// finish reads d to its end and closes it.
func (k *desk) finish(d *Download) error {
	k.t.Helper()
	got, err := io.ReadAll(d)
	if err == nil && !bytes.Equal(got, k.src.data) {
		k.t.Errorf("other content: %d bytes instead of %d", len(got), len(k.src.data))
	}
	k.close(d)
	return err
}

// fetch downloads it all.
func (k *desk) fetch() error {
	k.t.Helper()
	return k.finish(k.open(context.Background()))
}

func (k *desk) mustFetch() {
	k.t.Helper()
	if err := k.fetch(); err != nil {
		k.t.Error(err)
	}
	k.empty()
}

// empty fails when a file is left.
func (k *desk) empty() {
	k.t.Helper()
	if names := k.files(); len(names) > 0 {
		k.t.Errorf("left: %q", names)
	}
}

func (k *desk) files() (names []string) {
	entries, _ := os.ReadDir(k.dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// left returns the one download that is not complete.
func (k *desk) left() Left {
	k.t.Helper()
	all, err := List(k.dir)
	if err != nil || len(all) != 1 {
		k.t.Fatalf("left: %v, %v", all, err)
	}
	return all[0]
}

// begin reads n bytes of the blob and stops, so that a part is left.
func (k *desk) begin(n int) {
	k.t.Helper()
	d := k.open(context.Background())
	if _, err := io.CopyN(io.Discard, d, int64(n)); err != nil {
		k.t.Fatal(err)
	}
	k.close(d)
}
