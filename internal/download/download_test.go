package download

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestSizes(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, 8192, 8193, 12288, 100_000, 1 << 20} {
		for _, whole := range []bool{false, true} {
			k := newDesk(t, size)
			k.src.hook = func(a *ask) { a.whole = whole }
			k.mustFetch()
			if n := k.src.served.Load(); n != int64(size) {
				t.Errorf("%d bytes, whole %v: %d were served", size, whole, n)
			}
			if size <= 8192 && k.src.requests() > 1 {
				t.Errorf("%d requests for %d bytes", k.src.requests(), size)
			}
		}
	}
}

func TestOwnedPieces(t *testing.T) {
	k := newDesk(t, 50_000)
	d := k.open(context.Background())
	var pieces [][]byte
	var releases []func()
	// One read in between takes the beginning of a piece.
	var head [10]byte
	if _, err := io.ReadFull(d, head[:]); err != nil {
		t.Fatal(err)
	}
	for {
		b, release, err := d.NextOwned()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		pieces, releases = append(pieces, b), append(releases, release)
	}
	// All stay valid until they are released, and releasing twice is harmless.
	if got := append(head[:], bytes.Join(pieces, nil)...); !bytes.Equal(got, k.src.data) {
		t.Error("other content")
	}
	for _, r := range releases {
		r()
		r()
	}
	k.close(d)
	k.empty()
}

func TestRefusesNonsense(t *testing.T) {
	good := digestOf(nil)
	for _, o := range []Options{
		{Digest: good, Size: -1}, {Digest: good, Size: maxBlob + 1}, {Digest: "sha256:../../x", Size: 1},
		{Digest: strings.Replace(good, "sha256", "sha512", 1), Size: 1}, {Digest: strings.ToUpper(good), Size: 1},
		{Digest: "sha256:" + strings.ToUpper(good[7:]), Size: 1}, {Digest: good[:70], Size: 1},
	} {
		o.Dir = t.TempDir()
		if d, err := Open(context.Background(), &fake{}, o); err == nil {
			d.Close()
			t.Errorf("%+v: no error", o)
		}
	}
}

// A connection may break anywhere; not one byte comes twice.
func TestBreaks(t *testing.T) {
	for _, how := range []error{errReset, io.ErrUnexpectedEOF, nil} {
		for _, size := range []int{6000, 60_000} {
			k := newDesk(t, size)
			k.src.hook = func(a *ask) {
				if a.n%2 == 1 {
					a.cut, a.cutWith = int64(a.n*7919%5000), how
				}
			}
			k.mustFetch()
			if n := k.src.served.Load(); n != int64(size) {
				t.Errorf("%v: %d bytes served instead of %d", how, n, size)
			}
		}
	}
}

func TestBreaksWithoutRanges(t *testing.T) {
	k := newDesk(t, 60_000)
	k.src.hook = func(a *ask) {
		a.whole = true
		if a.n < 4 {
			a.cut, a.cutWith = int64(a.n+1)*10_000, errReset
		}
	}
	k.mustFetch()
	if n := k.src.requests(); n != 5 {
		t.Errorf("%d requests", n)
	}
}

// A registry that turns out to ignore ranges in the middle of it.
func TestRangesEnd(t *testing.T) {
	for _, from := range []int{1, 2, 5, 9} {
		k := newDesk(t, 1<<20)
		k.tune.maxSpan = 4
		k.src.hook = func(a *ask) {
			a.whole = a.n >= from && a.n%3 != 0
			a.piece, a.pause = 4000, 100*time.Microsecond
		}
		k.mustFetch()
	}
}

func TestWrongBytes(t *testing.T) {
	for _, size := range []int{5000, 50_000} {
		k := newDesk(t, size)
		bad := bytes.Clone(k.src.data)
		bad[size/2] ^= 1
		k.src.hook = func(a *ask) { a.data = bad }
		d := k.open(context.Background())
		got, err := io.ReadAll(d)
		if !errors.Is(err, ErrDigest) || errors.Is(err, ErrStale) || !bytes.Equal(got, bad) {
			t.Errorf("got %v", err)
		}
		if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), digestOf(bad)) {
			t.Errorf("text: %v", err)
		}
		k.empty() // at once
		k.close(d)
		k.empty()
		k.src.hook = nil
		k.mustFetch()
	}
}

// What an earlier try has left may be wrong although each chunk is what came
// then: it is removed, and the next try is right.
func TestStale(t *testing.T) {
	k := newDesk(t, 50_000)
	bad := bytes.Clone(k.src.data)
	bad[3] ^= 1
	k.src.hook = func(a *ask) { a.data = bad }
	k.begin(30_000)
	k.src.hook = nil
	d := k.open(context.Background())
	if err := d.Verify(); !errors.Is(err, ErrDigest) || !errors.Is(err, ErrStale) {
		t.Errorf("got %v", err)
	}
	k.close(d)
	k.empty()
	k.mustFetch()
}

func TestLonger(t *testing.T) {
	for _, size := range []int{5000, 8192, 50_000} {
		k := newDesk(t, size)
		k.src.hook = func(a *ask) { a.whole, a.extra = true, []byte("x") }
		if err := k.fetch(); !errors.Is(err, ErrDigest) || !strings.Contains(err.Error(), "longer") {
			t.Errorf("got %v", err)
		}
	}
}

// A body that does not end after the last byte does no harm.
func TestEndsLate(t *testing.T) {
	k := newDesk(t, 5000)
	k.tune.stall = 5 * time.Millisecond
	k.src.hook = func(a *ask) { a.hang = a.length }
	k.mustFetch()
}

func TestShorter(t *testing.T) {
	k := newDesk(t, 50_000)
	k.src.hook = func(a *ask) { a.cut = max(0, min(a.length, 30_000-a.off)) }
	err := k.fetch()
	if !errors.Is(err, ErrDigest) || !strings.Contains(err.Error(), "after 28672 of 50000 bytes, tried 6 times") {
		t.Errorf("got %v", err)
	}
	if l := k.left(); l.Have != 28672 {
		t.Errorf("left: %+v", l)
	}
}

func TestGivesUp(t *testing.T) {
	k := newDesk(t, 50_000)
	k.src.hook = func(a *ask) { a.fail = errRefused }
	if err := k.fetch(); err != errRefused || k.src.requests() != 1 {
		t.Errorf("got %v after %d requests", err, k.src.requests())
	}
	k.empty()
	k.src.asks = nil
	k.src.hook = func(a *ask) { a.fail = errReset }
	if err := k.fetch(); !errors.Is(err, errReset) || k.src.requests() != 6 {
		t.Errorf("got %v after %d requests", err, k.src.requests())
	}
	k.empty()
}

// Where bytes have come before, an outage is sat out, but not for ever.
func TestOutage(t *testing.T) {
	k := newDesk(t, 50_000)
	k.src.hook = func(a *ask) {
		a.cut, a.cutWith = 10_000, errReset
		if a.n > 0 && a.n < 20 {
			a.fail = errReset
		}
	}
	k.tune.outage = time.Hour
	k.mustFetch()

	k.src.asks = nil
	k.tune.outage = 5 * time.Millisecond
	k.src.hook = func(a *ask) {
		a.cut, a.cutWith = 10_000, errReset
		if a.n > 0 {
			a.fail = errReset
		}
	}
	if err := k.fetch(); !errors.Is(err, errReset) {
		t.Errorf("got %v", err)
	}
	if l := k.left(); l.Have != 8192 {
		t.Errorf("left: %+v", l)
	}
	k.src.hook = nil
	k.src.served.Store(0)
	k.mustFetch()
	if n := k.src.served.Load(); n != 50_000-8192 {
		t.Errorf("%d bytes served", n)
	}
}

// A registry that wants fewer requests gets fewer, whether it says for how long
// or not.
func TestThrottled(t *testing.T) {
	for _, wait := range []time.Duration{2 * time.Millisecond, 0} {
		k := newDesk(t, 1<<20)
		k.tune.maxSpan, k.tune.outage = 4, time.Hour
		refused := 0
		k.src.hook = func(a *ask) {
			a.piece, a.pause = 4096, time.Millisecond
			if k.src.open.Load() >= 3 && refused < 50 {
				refused++
				a.fail = tooMany{wait}
			}
		}
		k.mustFetch()
		if refused == 0 || k.limit.halved.IsZero() {
			t.Errorf("%d refused, %d allowed", refused, k.limit.allowed)
		}
	}
	k := newDesk(t, 1<<20)
	k.src.asks = nil
	k.src.hook = func(a *ask) { a.fail = tooMany{time.Hour} }
	var busy tooMany
	if err := k.fetch(); !errors.As(err, &busy) || k.src.requests() != 1 {
		t.Errorf("got %v after %d requests", err, k.src.requests())
	}
}

// Slow connections are used several at a time, within the limit.
func TestSlowConnections(t *testing.T) {
	k := newDesk(t, 1<<20)
	k.limit = NewLimit(6, 4)
	k.tune.maxSpan = 8
	k.src.hook = func(a *ask) { a.delay, a.piece, a.pause = 3*time.Millisecond, 4096, time.Millisecond }
	k.mustFetch()
	if k.src.most < 2 || k.src.most > 4 {
		t.Errorf("%d connections", k.src.most)
	}
	// Three downloads share.
	k.src.most = 0
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			o := k.options()
			o.Dir = filepath.Join(k.dir, fmt.Sprint(i))
			d, err := open(context.Background(), k.src, o, k.tune)
			if err != nil {
				t.Error(err)
				return
			}
			if err := d.Verify(); err != nil {
				t.Error(err)
			}
			d.Close()
		})
	}
	wg.Wait()
	k.idle()
	if k.src.most < 3 || k.src.most > 6 {
		t.Errorf("%d connections for three", k.src.most)
	}
}

// How many connections are good is a matter of how long the feeder waits.
func TestAdapt(t *testing.T) {
	const interval = 100 * time.Millisecond
	for _, tc := range []struct {
		what     string
		from     int           // connections
		starved  time.Duration // of the interval
		received int64
		spoil    func(d *Download)
		want     int
	}{
		{"waits", 1, 80 * time.Millisecond, 1000, nil, 2},
		{"waits, two", 2, 60 * time.Millisecond, 1000, nil, 4},
		{"waits, all there may be", 5, 90 * time.Millisecond, 1000, nil, 6},
		{"waits for nothing at all", 1, interval, 0, nil, 2},
		{"reader is slower", 1, 40 * time.Millisecond, 1000, nil, 1},
		{"reader is slower, many", 4, 0, 1000, nil, 4},
		{"network is as fast as can be", 1, 90 * time.Millisecond, 100 << 20, nil, 1},
		{"no answer yet", 1, interval, 0, func(d *Download) { d.answered = false }, 1},
		{"no ranges", 1, interval, 0, func(d *Download) { d.single = true }, 1},
		{"not all that were wanted have begun", 2, interval, 0, func(d *Download) { d.workers = 1 }, 2},
		{"reader is slower, others wait", 4, 0, 1000, func(d *Download) { d.limit.queue = make([]chan struct{}, 1) }, 3},
		{"reader is slower, others wait, one", 1, 0, 1000, func(d *Download) { d.limit.queue = make([]chan struct{}, 1) }, 1},
	} {
		k := newDesk(t, 1<<20)
		k.limit = NewLimit(6, 6)
		k.tune.tick = time.Hour
		k.src.hook = func(a *ask) { a.hang = 0 }
		d := k.open(context.Background())
		for k.src.open.Load() == 0 {
			time.Sleep(100 * time.Microsecond)
		}
		d.mu.Lock()
		d.answered, d.target, d.workers = true, tc.from, tc.from
		if tc.spoil != nil {
			tc.spoil(d)
		}
		d.mu.Unlock()
		begun := time.Now()
		d.adapt(look{at: begun}, look{at: begun.Add(interval), starved: tc.starved, received: tc.received})
		d.mu.Lock()
		got := d.target
		d.mu.Unlock()
		d.limit.mu.Lock()
		d.limit.queue = nil
		d.limit.mu.Unlock()
		if got != tc.want {
			t.Errorf("%s: %d connections, then %d instead of %d", tc.what, tc.from, got, tc.want)
		}
		k.close(d)
		k.empty()
	}
}

// Memory is bounded while nobody reads, and all of it comes to the part file.
func TestMemory(t *testing.T) {
	k := newDesk(t, 0)
	var all []*Download
	for i := range 6 {
		src := &fake{data: noise(1<<20, uint64(i))}
		d, err := open(context.Background(), src, Options{Dir: k.dir, Digest: digestOf(src.data), Size: 1 << 20, Limit: k.limit}, k.tune)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	most := 0
	for _, d := range all {
		for d.bytesHere() < 1<<20 {
			time.Sleep(time.Millisecond)
			k.limit.mu.Lock()
			most = max(most, k.limit.out)
			k.limit.mu.Unlock()
		}
	}
	if most > 64 || most == 0 {
		t.Errorf("%d chunks in memory", most)
	}
	for _, d := range all {
		if err := d.Verify(); err != nil {
			t.Error(err)
		}
		d.Close()
	}
	k.idle()
	k.empty()
}

// A silent connection is given up, and its range asked for again.
func TestStall(t *testing.T) {
	for _, size := range []int{5000, 60_000} {
		k := newDesk(t, size)
		k.tune.stall = 10 * time.Millisecond
		k.src.hook = func(a *ask) {
			if a.n < 3 {
				a.hang = int64(1000 * a.n)
			}
		}
		k.mustFetch()
		if n := k.src.served.Load(); n != int64(size) {
			t.Errorf("%d bytes served", n)
		}
	}
}

// The last chunks do not wait for a connection that hangs.
func TestTail(t *testing.T) {
	k := newDesk(t, 200_000)
	k.tune.stall, k.tune.hang, k.tune.stealLeft = time.Hour, 2*time.Millisecond, time.Millisecond
	k.src.hook = func(a *ask) {
		if a.n == 0 {
			a.hang = 50_000
		}
	}
	k.mustFetch()
}

func TestProgress(t *testing.T) {
	k := newDesk(t, 200_000)
	k.limit = NewLimit(1, 1)
	k.src.hook = func(a *ask) { a.piece, a.pause = 4096, time.Millisecond }
	k.begin(100_000)
	have := k.left().Have
	o := k.options()
	var told []int64
	o.Progress = func(n int64) { told = append(told, n) }
	d, err := open(context.Background(), k.src, o, k.tune)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.finish(d); err != nil {
		t.Fatal(err)
	}
	if have == 0 || len(told) < 2 || told[0] < have || told[len(told)-1] != 200_000 {
		t.Errorf("%d were here, told %v", have, told)
	}
}

func TestKeep(t *testing.T) {
	for _, size := range []int{0, 5000, 50_000} {
		k := newDesk(t, size)
		d := k.open(context.Background())
		path := filepath.Join(t.TempDir(), "blob")
		if err := d.Keep(path); err == nil {
			t.Error("kept before its end")
		}
		if err := d.Verify(); err != nil {
			t.Fatal(err)
		}
		if err := d.Keep(path); err != nil {
			t.Error(err)
		}
		k.close(d)
		k.empty()
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, k.src.data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}

// Random trouble of all kinds at once.
func TestStress(t *testing.T) {
	for round := range 60 {
		k := newDesk(t, 300_000+round*1111)
		k.tune.maxSpan = 1 + round%9
		k.tune.stall, k.tune.hang, k.tune.stealLeft = 20*time.Millisecond, 2*time.Millisecond, time.Millisecond
		k.tune.outage = time.Hour
		dice := uint32(round + 1)
		roll := func(n uint32) uint32 {
			dice = dice*1664525 + 1013904223
			return (dice >> 8) % n
		}
		k.src.hook = func(a *ask) {
			a.piece, a.pause = 1+int(roll(8000)), time.Duration(roll(300))*time.Microsecond
			switch roll(12) {
			case 0:
				a.fail = errReset
			case 1:
				a.fail = tooMany{time.Duration(roll(2000)) * time.Microsecond}
			case 2, 3:
				a.cut, a.cutWith = int64(roll(20_000)), errReset
			case 4:
				a.cut = int64(roll(20_000)) + 1
			case 5:
				a.hang = int64(roll(20_000))
			case 6:
				a.whole = round%4 == 0
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		n := int64(roll(400_000))
		d := k.open(ctx)
		if round%3 == 0 {
			io.CopyN(io.Discard, d, n)
			cancel()
			_, err := io.Copy(io.Discard, d)
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("round %d: %v", round, err)
			}
			k.close(d)
			d = k.open(context.Background())
		}
		if err := k.finish(d); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		cancel()
		k.empty()
	}
}

// Whoever waits for a connection and gives up leaves no trace.
func TestLimit(t *testing.T) {
	l := NewLimit(3, 2)
	var wg sync.WaitGroup
	var now, most atomic.Int64
	for i := range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%7)*500*time.Microsecond)
			defer cancel()
			if i%3 > 0 {
				ctx = context.Background()
			}
			if l.acquire(ctx) != nil {
				return
			}
			for n := now.Add(1); ; {
				if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
					break
				}
			}
			time.Sleep(200 * time.Microsecond)
			if i%20 == 0 {
				l.throttle(time.Millisecond)
			}
			l.wentWell()
			now.Add(-1)
			l.release()
		})
	}
	wg.Wait()
	if l.used != 0 || len(l.queue) != 0 || most.Load() > 3 {
		t.Errorf("%d in use, %d wait, %d at once", l.used, len(l.queue), most.Load())
	}
}

// After an outage all connections come back together.
func TestOutageEndsForAll(t *testing.T) {
	k := newDesk(t, 1<<20)
	k.tune.maxSpan, k.tune.outage = 4, time.Hour
	k.tune.backoff, k.tune.longest = time.Millisecond, time.Hour
	down := 0
	k.src.hook = func(a *ask) {
		a.piece, a.pause = 4096, time.Millisecond
		if a.n >= 20 && down < 60 {
			down++
			a.fail = errReset
		}
	}
	k.mustFetch()
}
