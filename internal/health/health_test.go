package health

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestJudge walks through Docker's rules.
func TestJudge(t *testing.T) {
	start := time.Now()
	h := &Check{StartPeriod: time.Minute, Retries: 2}
	s := &Status{Status: Starting}
	for i, c := range []struct {
		at     time.Duration
		code   int
		want   string
		streak int
	}{
		{time.Second, 1, Starting, 0},         // forgiven
		{59 * time.Second, -1, Starting, 0},   // forgiven
		{time.Minute, 1, Starting, 1},         // the period is over
		{61 * time.Second, 0, Healthy, 0},     // one good is enough
		{62 * time.Second, 1, Healthy, 1},     // one bad is not
		{63 * time.Second, 1, Unhealthy, 2},   // two are
		{64 * time.Second, 1, Unhealthy, 3},   // and counting goes on
		{65 * time.Second, 0, Healthy, 0},     // until it is good again
		{30 * time.Second, 1, Healthy, 1},     // after the first good one nothing is forgiven
		{31 * time.Second, 139, Unhealthy, 2}, // whatever the code
	} {
		if got := s.Judge(*h, Result{Start: start.Add(c.at), ExitCode: c.code}, start); got != c.want || s.FailingStreak != c.streak {
			t.Errorf("check %d: %s, %d in a row, want %s, %d", i, got, s.FailingStreak, c.want, c.streak)
		}
	}
	if len(s.Log) != keptResults || s.Log[keptResults-1].ExitCode != 139 {
		t.Errorf("kept are %v", s.Log)
	}
	if got := (&Check{}); got.Pause(Starting, 0) != 30*time.Second {
		t.Errorf("without a start period the first check comes after %v", got.Pause(Starting, 0))
	}
	if h.Pause(Starting, time.Second) != 5*time.Second || h.Pause(Healthy, time.Second) != 30*time.Second || h.Pause(Starting, time.Hour) != 30*time.Second {
		t.Error("the start interval is for what starts, in its start period")
	}
	s = &Status{Status: Starting}
	for range 3 {
		s.Judge(Check{}, Result{Start: start, ExitCode: 1}, start)
	}
	if s.Status != Unhealthy {
		t.Errorf("after three failures: %s", s.Status)
	}
}

func TestOutputIsClipped(t *testing.T) {
	var o Output
	fmt.Fprint(&o, strings.Repeat("x", keptOutput-1))
	fmt.Fprint(&o, "y")
	if s := o.String(); len(s) != keptOutput || !strings.HasSuffix(s, "xy") {
		t.Errorf("%d bytes", len(s))
	}
	fmt.Fprint(&o, "z")
	if s := o.String(); len(s) != keptOutput+3 || !strings.HasSuffix(s, "xy...") {
		t.Errorf("%d bytes", len(s))
	}
}
