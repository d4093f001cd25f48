// Package health is Docker's rules about health checks: how often a container is
// checked, and what a row of results says about it. Carrying checks out is the
// shim's.
package health

import (
	"cmp"
	"sync"
	"time"
)

// Check is how a container is checked. Zero values are Docker's defaults.
type Check struct {
	Interval      time.Duration `json:"interval,omitempty"`      // between checks; 30 s
	Timeout       time.Duration `json:"timeout,omitempty"`       // of one check; 30 s
	StartPeriod   time.Duration `json:"startPeriod,omitempty"`   // failures do not count so long, unless one check was good
	StartInterval time.Duration `json:"startInterval,omitempty"` // between checks in the start period; 5 s
	Retries       int           `json:"retries,omitempty"`       // failures in a row that make it unhealthy; 3
}

// What Status.Status can be.
const (
	Starting  = "starting"
	Healthy   = "healthy"
	Unhealthy = "unhealthy"
)

// Status is what the checks have found.
type Status struct {
	Status        string   `json:"status"`
	FailingStreak int      `json:"failingStreak"`
	Log           []Result `json:"log,omitempty"` // the latest five
}

// Result is one check. The exit code is -1 if the program did not end in time or
// could not be started.
type Result struct {
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	ExitCode int       `json:"exitCode"`
	Output   string    `json:"output"` // at most 4,096 bytes, and "..." if there was more
}

const (
	keptResults = 5
	keptOutput  = 4096
)

// Pause is the time to the next check of a container that started so long ago.
func (c Check) Pause(status string, age time.Duration) time.Duration {
	if status == Starting && age < c.StartPeriod {
		return cmp.Or(c.StartInterval, 5*time.Second)
	}
	return cmp.Or(c.Interval, 30*time.Second)
}

// Limit is how long one check may take.
func (c Check) Limit() time.Duration { return cmp.Or(c.Timeout, 30*time.Second) }

// Judge draws the conclusion from a check of a container that was started at
// some time: one good check makes it healthy, several bad ones in a row
// unhealthy; but those that begin in the start period do not count before the
// first good one. It returns the new status.
func (s *Status) Judge(c Check, r Result, started time.Time) string {
	s.Log = append(s.Log, r)
	s.Log = s.Log[max(0, len(s.Log)-keptResults):]
	switch {
	case r.ExitCode == 0:
		s.Status, s.FailingStreak = Healthy, 0
	case s.Status == Starting && r.Start.Sub(started) < c.StartPeriod:
	default:
		if s.FailingStreak++; s.FailingStreak >= cmp.Or(c.Retries, 3) {
			s.Status = Unhealthy
		}
	}
	return s.Status
}

// Output keeps the start of what a check writes. It may be used by several
// goroutines.
type Output struct {
	mu   sync.Mutex
	b    []byte
	more bool
}

// Write takes all, and keeps some.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(len(p), keptOutput-len(o.b))
	o.b = append(o.b, p[:n]...)
	o.more = o.more || n < len(p)
	return len(p), nil
}

// String is what was kept.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more {
		return string(o.b) + "..."
	}
	return string(o.b)
}
