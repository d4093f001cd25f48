package progress

import (
	"fmt"
	"time"
)

const (
	// window is how far back a rate looks: long enough to be calm, short
	// enough to show a stall.
	window = 6 * time.Second
	// sampleEvery bounds how many samples that takes.
	sampleEvery = 250 * time.Millisecond
	// settled is how long a rate must have been watched to be told.
	settled = time.Second
)

// meter measures how fast a number of bytes grows.
type meter struct{ samples []sample }

type sample struct {
	at time.Time
	n  int64
}

// note adds what is there now.
func (m *meter) note(now time.Time, n int64) {
	if last := len(m.samples) - 1; last >= 1 && now.Sub(m.samples[last-1].at) < sampleEvery {
		m.samples[last] = sample{now, n}
		return
	}
	m.samples = append(m.samples, sample{now, n})
	// The newest that is older than the window stays, as its beginning.
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) > window {
		m.samples = m.samples[1:]
	}
}

// rate returns the bytes in a second, 0 when there is nothing to tell yet.
func (m *meter) rate(now time.Time) float64 {
	if len(m.samples) < 2 {
		return 0
	}
	first, last := m.samples[0], m.samples[len(m.samples)-1]
	span := now.Sub(first.at)
	if span < settled || now.Sub(last.at) > window {
		return 0
	}
	return float64(last.n-first.n) / span.Seconds()
}

// left writes how long the rest takes at a rate: "12s", "3m05s", "1h20m".
func left(rest int64, rate float64) string {
	if rate <= 0 || rest < 0 {
		return ""
	}
	seconds := float64(rest) / rate
	switch {
	case seconds >= 100*3600:
		return ""
	case seconds >= 3600:
		return fmt.Sprintf("%dh%02dm", int(seconds)/3600, int(seconds)%3600/60)
	case seconds >= 60:
		return fmt.Sprintf("%dm%02ds", int(seconds)/60, int(seconds)%60)
	}
	return fmt.Sprintf("%ds", int(seconds+0.5))
}
