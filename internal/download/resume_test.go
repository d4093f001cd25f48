package download

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// files of the one download in a desk.
func (k *desk) part() string { return filepath.Join(k.dir, digestOf(k.src.data)[7:]+".part") }
func (k *desk) journal() string {
	return filepath.Join(k.dir, digestOf(k.src.data)[7:]+".map")
}

func TestCancelAnywhere(t *testing.T) {
	for n := 0; n <= 60_000; n += 2500 {
		k := newDesk(t, 60_000)
		ctx, cancel := context.WithCancel(context.Background())
		k.src.hook = func(a *ask) { a.piece, a.pause = 1500, 50*time.Microsecond }
		d := k.open(ctx)
		if _, err := io.CopyN(io.Discard, d, int64(n)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := d.Verify(); err != nil && err != context.Canceled {
			t.Errorf("after %d: %v", n, err)
		}
		done := d.ended
		k.close(d)
		if done {
			k.empty()
			continue
		}
		var have int64
		if len(k.files()) > 0 {
			have = k.left().Have
		}
		if have < int64(n-4096) {
			t.Errorf("%d bytes were read, %d are left", n, have)
		}
		k.src.served.Store(0)
		k.mustFetch()
		if got := k.src.served.Load(); got != 60_000-have {
			t.Errorf("%d bytes were here, %d came again", have, got-(60_000-have))
		}
	}
}

// Whatever becomes of the files, the result is right, and only what is lost is
// fetched again.
func TestDamage(t *testing.T) {
	const size = 40*4096 + 100
	for _, tc := range []struct {
		what  string
		spoil func(k *desk, part, journal []byte) ([]byte, []byte)
		lost  int // bytes that have to come again
	}{
		{"nothing", func(k *desk, p, j []byte) ([]byte, []byte) { return p, j }, 0},
		{"flipped bit", func(k *desk, p, j []byte) ([]byte, []byte) { p[5000] ^= 4; return p, j }, 4096},
		{"zero page", func(k *desk, p, j []byte) ([]byte, []byte) { copy(p[8192:], make([]byte, 4096)); return p, j }, 4096},
		{"all zero", func(k *desk, p, j []byte) ([]byte, []byte) { clear(p); return p, j }, size},
		{"cut part", func(k *desk, p, j []byte) ([]byte, []byte) { return p[:4096*30+1], j }, 10*4096 + 100},
		{"empty part", func(k *desk, p, j []byte) ([]byte, []byte) { return nil, j }, size},
		{"no part", func(k *desk, p, j []byte) ([]byte, []byte) { os.Remove(k.part()); return nil, j }, size},
		{"longer part", func(k *desk, p, j []byte) ([]byte, []byte) { return append(p, p...), j }, 0},
		{"no journal", func(k *desk, p, j []byte) ([]byte, []byte) { os.Remove(k.journal()); return p, nil }, size},
		{"empty journal", func(k *desk, p, j []byte) ([]byte, []byte) { return p, []byte{} }, size},
		{"torn header", func(k *desk, p, j []byte) ([]byte, []byte) { return p, j[:20] }, size},
		{"damaged header", func(k *desk, p, j []byte) ([]byte, []byte) { j[9] ^= 1; return p, j }, size},
		{"other blob", func(k *desk, p, j []byte) ([]byte, []byte) {
			h, _ := parseHeader(j)
			h.sum[0] ^= 1
			return p, append(h.encode(), j[headerSize:]...)
		}, size},
		{"other chunks", func(k *desk, p, j []byte) ([]byte, []byte) {
			h, _ := parseHeader(j)
			h.chunk *= 2
			return p, append(h.encode(), j[headerSize:]...)
		}, size},
		{"no records", func(k *desk, p, j []byte) ([]byte, []byte) { return p, j[:headerSize] }, size},
		{"torn record", func(k *desk, p, j []byte) ([]byte, []byte) { return p, append(j, j[len(j)-7:]...) }, 0},
		{"zero tail", func(k *desk, p, j []byte) ([]byte, []byte) { return p, append(j, make([]byte, 4096)...) }, 0},
		{"damaged record", func(k *desk, p, j []byte) ([]byte, []byte) { j[headerSize+12*3+5] ^= 1; return p, j }, 4096},
		{"garbage after records", func(k *desk, p, j []byte) ([]byte, []byte) { return p, append(j, noise(5000, 1)...) }, 0},
		{"endless journal", func(k *desk, p, j []byte) ([]byte, []byte) { return p, append(j, noise(50_000, 1)...) }, size},
		{"garbage", func(k *desk, p, j []byte) ([]byte, []byte) { return noise(3000, 2), noise(3000, 3) }, size},
	} {
		k := newDesk(t, size)
		// Leave all of it, as a SIGKILL just before the end does.
		d := k.open(context.Background())
		for d.bytesHere() < size {
			time.Sleep(100 * time.Microsecond)
		}
		k.close(d)
		part, err := os.ReadFile(k.part())
		journal, err2 := os.ReadFile(k.journal())
		if err = errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		p, j := tc.spoil(k, part, journal)
		if p != nil || tc.what == "empty part" {
			os.WriteFile(k.part(), p, 0o600)
		}
		if j != nil {
			os.WriteFile(k.journal(), j, 0o600)
		}
		for _, again := range []bool{false, true} {
			k.src.served.Store(0)
			if !again {
				// What is mended stays mended.
				d := k.open(context.Background())
				if _, err := io.CopyN(io.Discard, d, size-1); err != nil {
					t.Errorf("%s: %v", tc.what, err)
				}
				k.close(d)
				if got := k.src.served.Load(); got != int64(tc.lost) {
					t.Errorf("%s: %d bytes came again, not %d", tc.what, got, tc.lost)
				}
				continue
			}
			k.mustFetch()
			if got := k.src.served.Load(); got != 0 {
				t.Errorf("%s: %d bytes came once more", tc.what, got)
			}
		}
	}
}

// A server that ignores ranges after part of the blob is here.
func TestResumeWithoutRanges(t *testing.T) {
	k := newDesk(t, 100_000)
	k.begin(50_000)
	k.src.hook = func(a *ask) { a.whole = true }
	k.mustFetch()
	if n := k.src.requests(); n > 3 {
		t.Errorf("%d requests", n)
	}
}

// The second of two waits for the first and goes on with what it has left.
func TestTwoAtOnce(t *testing.T) {
	k := newDesk(t, 100_000)
	first := k.open(context.Background())
	if _, err := io.CopyN(io.Discard, first, 50_000); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if d, err := open(ctx, k.src, k.options(), k.tune); err != context.DeadlineExceeded {
		t.Errorf("a second one at once: %v, %v", d, err)
	}
	if n, err := Remove(k.dir, nil); n != 0 || err != nil || !k.left().Busy {
		t.Errorf("removed %d of a busy one, %v", n, err)
	}
	served := make(chan int64)
	go func() {
		d, err := open(context.Background(), k.src, k.options(), k.tune)
		if err != nil {
			t.Error(err)
			close(served)
			return
		}
		before := k.src.served.Load()
		if err := d.Verify(); err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		served <- before
	}()
	time.Sleep(5 * time.Millisecond)
	first.Close()
	<-served
	if n := k.src.served.Load(); n > 100_000+8*4096 {
		t.Errorf("%d bytes served for two", n)
	}
	k.idle()
	k.empty()
}

// Many want the same blob: each gets it, one after the other.
func TestManyAtOnce(t *testing.T) {
	k := newDesk(t, 60_000)
	errs := make(chan error)
	for i := range 8 {
		go func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			d, err := open(ctx, k.src, k.options(), k.tune)
			if err != nil {
				errs <- err
				return
			}
			if i%2 == 0 {
				_, err = io.CopyN(io.Discard, d, int64(i)*5000)
			} else {
				var got []byte
				if got, err = io.ReadAll(d); err == nil && !bytes.Equal(got, k.src.data) {
					err = errors.New("other content")
				}
			}
			errs <- errors.Join(err, d.Close())
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	k.idle()
}

func TestListAndRemove(t *testing.T) {
	k := newDesk(t, 100_000)
	if all, err := List(filepath.Join(k.dir, "none")); all != nil || err != nil {
		t.Errorf("%v, %v", all, err)
	}
	if n, err := Remove(filepath.Join(k.dir, "none"), nil); n != 0 || err != nil {
		t.Errorf("%v, %v", n, err)
	}
	k.begin(50_000)
	l := k.left()
	if l.Digest != digestOf(k.src.data) || l.Size != 100_000 || l.Have < 49_152 || l.Path != k.part() || l.Busy || time.Since(l.Modified) > time.Hour {
		t.Errorf("%+v", l)
	}
	// Orphans of either kind, and what is not ours.
	one, two := strings.Repeat("1", 64), strings.Repeat("2", 64)
	for _, name := range []string{one + ".part", two + ".map", "notes.part", strings.Repeat("3", 64) + ".txt"} {
		if err := os.WriteFile(filepath.Join(k.dir, name), noise(5000, 1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := List(k.dir)
	if err != nil || len(all) != 3 {
		t.Fatalf("%v, %v", all, err)
	}
	freed, err := Remove(k.dir, func(l Left) bool { return l.Size > 0 })
	if err != nil || freed < 8192 || len(k.files()) != 4 {
		t.Errorf("freed %d, %v; left %q", freed, err, k.files())
	}
	if freed, err = Remove(k.dir, nil); err != nil || freed < 50_000 || len(k.files()) != 2 {
		t.Errorf("freed %d, %v; left %q", freed, err, k.files())
	}
}

func FuzzJournal(f *testing.F) {
	h := header{size: 20_000, chunk: 4096}
	good := h.encode()
	for i := range uint32(5) {
		good = append(good, record{index: i, sum: checksum(noise(4096, 1))}.encode(h.salt())...)
	}
	f.Add(good)
	f.Add(good[:70])
	f.Add(h.encode())
	f.Add(header{size: maxBlob, chunk: 1 << 20}.encode())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := parseHeader(b)
		if !ok {
			return
		}
		if h.chunks() < 1 || h.chunks() > 1<<20 || !bytes.Equal(h.encode()[:52], b[:52]) {
			t.Fatalf("%+v", h)
		}
		if n := count(h, b[headerSize:], h.size); n > h.size {
			t.Fatalf("%d of %d bytes", n, h.size)
		}
	})
}

func FuzzPart(f *testing.F) {
	h := header{size: 20_000, chunk: 4096}
	f.Add(append(h.encode(), record{3, 4}.encode(h.salt())...))
	f.Add(h.encode()[:50])
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		base := filepath.Join(dir, hex.EncodeToString(h.sum[:]))
		if os.WriteFile(base+".map", b, 0o600) != nil || os.WriteFile(base+".part", noise(20_000, 1), 0o600) != nil {
			t.Fatal("cannot write")
		}
		seen := 0
		p, err := openPart(context.Background(), dir, h, func(r record) {
			if int(r.index) >= h.chunks() {
				t.Fatalf("record %+v", r)
			}
			seen++
		})
		if err != nil {
			t.Fatal(err)
		}
		// What is written now is found by the next.
		chunk := noise(4096, 9)
		sum, err := p.write(2, chunk)
		p.close()
		if err != nil {
			t.Fatal(err)
		}
		found := false
		p, err = openPart(context.Background(), dir, h, func(r record) { found = r == record{2, sum} })
		if err != nil || !found || p.read(2, make([]byte, 4096), sum) != nil {
			t.Fatalf("%v, found %v", err, found)
		}
		p.close()
		if all, err := List(dir); err != nil || len(all) != 1 || all[0].Have < 4096 || all[0].Have > 20_000 {
			t.Fatal(fmt.Sprint(all, err))
		}
	})
}

// Two connections bring the same chunk, and not the same bytes: what is in the
// part file is what its checksum and the reader were told, or a blob would be
// kept that nobody has verified.
func TestSameChunkTwice(t *testing.T) {
	k := newDesk(t, 400*4096)
	k.src.hook = func(a *ask) { a.hang = 0 }
	ctx, cancel := context.WithCancel(context.Background())
	d := k.open(ctx)
	defer k.close(d)
	defer cancel()
	bring := func(i int, b byte) {
		buf := d.limit.buffer(4096, true)
		for j := range buf.data {
			buf.data[j] = b
		}
		s := &span{first: i, end: i + 1, buf: buf, fill: 4096}
		if err := d.complete(s, i); err != nil {
			t.Error(err)
		}
		d.drop(s)
	}
	got := make([]byte, 4096)
	for i := range 400 {
		var wg sync.WaitGroup
		wg.Go(func() { bring(i, 'x') })
		wg.Go(func() { bring(i, 'y') })
		wg.Wait()
		if err := d.part.read(i, got, d.sums[i]); err != nil {
			t.Fatalf("chunk %d: %v", i, err)
		}
	}
}
