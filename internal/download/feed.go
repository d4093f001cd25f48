package download

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"time"
)

// worst is how often a chunk may turn out to be another than was written
// before the disk is not believed any more.
const worst = 3

// feed gives the chunks to the reader and to sha256, in order, and says how it
// ended.
func (d *Download) feed() {
	stop := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		d.watch(stop)
	}()
	err := d.feedAll()
	if err == nil {
		d.cancel(io.EOF)
	} else {
		d.cancel(err) // so that workers end
	}
	close(stop)
	<-watched
	if err == nil {
		d.tell(d.head.size)
		err = io.EOF
	} else if d.caller.Err() != nil {
		err = d.caller.Err()
	}
	d.err = err
	close(d.out)
}

// feedAll returns nil when the blob was complete and right.
func (d *Download) feedAll() error {
	hashed := make(chan [32]byte, 1)
	toHash := make(chan *buffer, 4)
	go hash(toHash, hashed)
	err := d.feedChunks(toHash)
	close(toHash)
	sum := <-hashed // a few chunks later at most
	if err != nil {
		return err
	}
	if sum == d.head.sum {
		return nil
	}
	err = fmt.Errorf("blob %s is damaged: its content has the digest sha256:%x: %w", d.opt.Digest, sum, ErrDigest)
	if d.part == nil {
		return err
	}
	if d.old > 0 {
		err = fmt.Errorf("%w (%w and is removed now)", err, ErrStale)
	}
	if e := d.part.remove(); e != nil {
		err = fmt.Errorf("%w (and cannot be removed: %v)", err, e)
	}
	return err
}

func (d *Download) feedChunks(toHash chan<- *buffer) error {
	for i := range d.head.chunks() {
		b, err := d.chunk(i)
		if err != nil {
			return err
		}
		if d.part == nil {
			d.small = append(d.small, b.share())
		}
		select {
		case toHash <- b.share():
		case <-d.ctx.Done():
			b.release()
			b.release()
			return context.Cause(d.ctx)
		}
		select {
		case d.out <- b:
		case <-d.ctx.Done():
			b.release()
			return context.Cause(d.ctx)
		}
	}
	return nil
}

// hash is sha256 of what comes. It ends when in is closed.
func hash(in <-chan *buffer, out chan<- [32]byte) {
	h := sha256.New()
	for b := range in {
		h.Write(b.data)
		b.release()
	}
	out <- [32]byte(h.Sum(nil))
}

// chunk waits for chunk i.
func (d *Download) chunk(i int) (*buffer, error) {
	for bad := 0; ; {
		if d.ctx.Err() != nil {
			return nil, context.Cause(d.ctx)
		}
		b, sum, ok := d.want(i)
		if b != nil {
			return b, nil
		}
		if !ok {
			d.starve()
			continue
		}
		n := d.head.length(i)
		b = d.limit.buffer(n, int64(n) == d.head.chunk)
		err := d.part.read(i, b.data, sum)
		if err == nil {
			return b, nil
		}
		b.release()
		if bad++; bad == worst {
			return nil, fmt.Errorf("cannot read back what was written to %s: %w", d.part.path, err)
		}
		d.lose(i)
		d.have.Add(-int64(n))
		d.ensure()
	}
}

// starve waits for the network.
func (d *Download) starve() {
	begun := time.Now()
	d.hungry.Store(begun.UnixNano())
	select {
	case <-d.arrived:
	case <-d.ctx.Done():
	}
	d.hungry.Store(0)
	d.starved.Add(int64(time.Since(begun)))
}

// watch looks at the pace now and then until stop is closed.
func (d *Download) watch(stop <-chan struct{}) {
	t := time.NewTicker(d.tune.tick)
	defer t.Stop()
	var last look
	for odd := false; ; odd = !odd {
		select {
		case <-stop:
			return
		case <-t.C:
			next := d.look()
			d.adapt(last, next)
			last = next
			if odd {
				d.tell(min(d.have.Load(), d.head.size))
			}
		}
	}
}

func (d *Download) tell(have int64) {
	if d.opt.Progress != nil {
		d.opt.Progress(have)
	}
}

// look is the pace at one moment.
type look struct {
	at       time.Time
	starved  time.Duration
	received int64
}

func (d *Download) look() look {
	l := look{at: time.Now(), received: d.received.Load(), starved: time.Duration(d.starved.Load())}
	if since := d.hungry.Load(); since > 0 {
		l.starved += l.at.Sub(time.Unix(0, since))
	}
	return l
}

// adapt changes the number of connections: more of them while the feeder waits
// for the network most of the time, fewer when it does not and others wait.
func (d *Download) adapt(last, next look) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.answered || d.single || last.at.IsZero() {
		return
	}
	span := next.at.Sub(last.at)
	hungry := next.starved-last.starved > span/2
	slow := float64(next.received-last.received) < float64(d.tune.fast)*span.Seconds()
	switch {
	case hungry && slow && d.left > 0:
		if d.workers >= d.target {
			d.target = min(2*d.target, d.limit.perBlob)
		}
		for d.workers < d.target && d.limit.idle() {
			d.spawn()
		}
	case hungry && d.left == 0 && d.workers < d.limit.perBlob && d.slowest(next.at) != nil && d.limit.idle():
		d.target = max(d.target, d.workers+1)
		d.spawn()
	case !hungry && d.target > 1 && d.limit.crowded():
		d.target--
	}
}
