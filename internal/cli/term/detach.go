package term

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
)

// DefaultKeys is the sequence that leaves a container.
const DefaultKeys = "ctrl-p,ctrl-q"

// holdTime is how long the start of the sequence is kept back. A shell wants
// its Ctrl-P (the last command); what was sent to it cannot be taken back, so
// it has to wait until it is clear that no Ctrl-Q follows.
const holdTime = 250 * time.Millisecond

// ParseKeys reads a sequence such as "ctrl-p,ctrl-q" or "ctrl-a,x". Empty
// means no sequence at all.
func ParseKeys(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	var keys []byte
	for _, word := range strings.Split(s, ",") {
		k, ok := parseKey(word)
		if !ok {
			return nil, fmt.Errorf("invalid detach keys (%s): unknown character: '%s'", s, word)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func parseKey(word string) (byte, bool) {
	if len(word) == 1 && word[0] < 0x80 {
		return word[0], true
	}
	if strings.EqualFold(word, "del") {
		return 127, true
	}
	name, ok := strings.CutPrefix(strings.ToLower(word), "ctrl-")
	if !ok || len(name) != 1 {
		return 0, false
	}
	switch c := name[0]; {
	case c >= 'a' && c <= 'z':
		return c - 'a' + 1, true
	case c == '@':
		return 0, true
	case c >= '[' && c <= '_':
		return c - '[' + 27, true
	}
	return 0, false
}

// Detach passes on what it reads until the detach keys come; then Read answers
// with the error given to NewDetach. Bytes before the keys are passed on first.
type Detach struct {
	read     func(p []byte, wait time.Duration) (int, error)
	keys     []byte
	detached error

	held int    // so many keys have come, and wait for the next
	out  []byte // ready to pass on
	end  error  // comes after out
	buf  []byte
}

// NewDetach returns a filter over in. Without keys it passes on everything.
func NewDetach(in *Input, keys []byte, detached error) *Detach {
	return &Detach{read: in.read, keys: keys, detached: detached, buf: make([]byte, 4096)}
}

// Read implements io.Reader.
func (d *Detach) Read(p []byte) (int, error) {
	for len(d.out) == 0 {
		if d.end != nil {
			return 0, d.end
		}
		d.fill()
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}

// fill reads once.
func (d *Detach) fill() {
	wait := time.Duration(-1)
	if d.held > 0 {
		wait = holdTime
	}
	n, err := d.read(d.buf, wait)
	for _, b := range d.buf[:max(n, 0)] {
		if d.key(b) {
			d.end = d.detached
			return
		}
	}
	if err == nil {
		return
	}
	// The next key did not come, or none will.
	d.out = append(d.out, d.keys[:d.held]...)
	d.held = 0
	if !errors.Is(err, errTimeout) {
		d.end = err
	}
}

// key takes one byte and says whether it completes the sequence.
func (d *Detach) key(b byte) bool {
	for {
		if len(d.keys) > 0 && b == d.keys[d.held] {
			d.held++
			return d.held == len(d.keys)
		}
		if d.held == 0 {
			d.out = append(d.out, b)
			return false
		}
		// The keys held are no sequence, but their end may be the start
		// of one: of p p q the first p is passed on and p q detaches.
		keep := d.held - 1
		for !bytes.Equal(d.keys[d.held-keep:d.held], d.keys[:keep]) {
			keep--
		}
		d.out = append(d.out, d.keys[:d.held-keep]...)
		d.held = keep
	}
}
