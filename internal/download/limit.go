package download

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	defaultTotal   = 16
	defaultPerBlob = 8
	// spareBelow is how many buffers may be in use by all downloads of a Limit
	// for one more to wait in memory for its reader.
	spareBelow = 48
	// goodForMore is how many ranges must come well after a registry asked for
	// fewer requests, until there is one more at a time.
	goodForMore = 4
	// calm is how long more of the same complaint counts as one complaint.
	calm = time.Second
)

// Limit is what the downloads of one pull share: the number of connections,
// and memory. Who waits for a connection is served in the order of asking.
type Limit struct {
	total, perBlob int

	mu      sync.Mutex
	allowed int // at a time; falls when the registry complains
	used    int
	good    int             // ranges since the last complaint or rise
	queue   []chan struct{} // who waits; a send hands a connection over
	until   time.Time       // no request before
	halved  time.Time       // when allowed fell last

	free [][]byte // buffers to use again
	out  int      // buffers in use
}

// NewLimit allows total connections at a time, and perBlob for one download.
// Less than one means the default, 16 and 8.
func NewLimit(total, perBlob int) *Limit {
	if total < 1 {
		total = defaultTotal
	}
	if perBlob < 1 {
		perBlob = defaultPerBlob
	}
	return &Limit{total: total, perBlob: min(perBlob, total), allowed: total}
}

// acquire waits for the right to send one request.
func (l *Limit) acquire(ctx context.Context) error {
	if err := l.turn(ctx); err != nil {
		return err
	}
	for {
		l.mu.Lock()
		wait := time.Until(l.until)
		l.mu.Unlock()
		if wait <= 0 {
			return nil
		}
		// With the connection in hand, so that nobody else uses it meanwhile.
		if err := sleep(ctx, wait); err != nil {
			l.release()
			return err
		}
	}
}

// turn waits for a connection.
func (l *Limit) turn(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	if l.used < l.allowed && len(l.queue) == 0 {
		l.used++
		l.mu.Unlock()
		return nil
	}
	turn := make(chan struct{}, 1)
	l.queue = append(l.queue, turn)
	l.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		l.leave(turn)
		return ctx.Err()
	}
}

// leave gives up waiting. If the turn has come meanwhile it is passed on.
func (l *Limit) leave(turn chan struct{}) {
	l.mu.Lock()
	i := slices.Index(l.queue, turn)
	if i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
	l.mu.Unlock()
	if i < 0 {
		l.release()
	}
}

func (l *Limit) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used--
	l.serve()
}

// serve hands free connections to those who wait. The lock is held.
func (l *Limit) serve() {
	for l.used < l.allowed && len(l.queue) > 0 {
		l.used++
		l.queue[0] <- struct{}{}
		l.queue = l.queue[1:]
	}
}

// idle reports whether a connection could be had at once.
func (l *Limit) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used < l.allowed && len(l.queue) == 0 && time.Until(l.until) <= 0
}

// crowded reports whether somebody waits for a connection.
func (l *Limit) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) > 0
}

// throttle halves the connections because the registry asks for patience.
func (l *Limit) throttle(wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if t := now.Add(wait); t.After(l.until) {
		l.until = t
	}
	l.good = 0
	// What was under way at the first complaint will be refused as well.
	if now.Sub(l.halved) >= calm {
		l.allowed = max(1, min(l.allowed, l.used)/2)
		l.halved = now
	}
}

// wentWell notes that a range came.
func (l *Limit) wentWell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.allowed == l.total {
		return
	}
	if l.good++; l.good >= goodForMore {
		l.good = 0
		l.allowed++
		l.serve()
	}
}

// buffer returns memory for n bytes, with one user. Only chunks of full size
// are counted and used again.
func (l *Limit) buffer(n int, whole bool) *buffer {
	b := &buffer{}
	b.users.Store(1)
	if whole {
		b.home = l
		b.data = l.again()
	}
	if cap(b.data) < n {
		b.data = make([]byte, n)
	}
	b.data = b.data[:n]
	return b
}

// again counts a buffer and returns one that was in use before, if there is.
func (l *Limit) again() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out++
	last := len(l.free) - 1
	if last < 0 {
		return nil
	}
	data := l.free[last]
	l.free = l.free[:last]
	return data
}

// spare reports whether a chunk may wait in memory.
func (l *Limit) spare() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out < spareBelow
}

func (l *Limit) putBack(data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out--
	if len(l.free) < spareBelow {
		l.free = append(l.free, data)
	}
}

// sleep waits, unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
