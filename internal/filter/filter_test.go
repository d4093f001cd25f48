package filter

import (
	"testing"
	"time"
)

func TestTruth(t *testing.T) {
	for v, want := range map[string][2]bool{"1": {true, false}, "TRUE": {true, false}, "t": {true, false}, "0": {false, true}, "False": {false, true}, "f": {false, true}, "": {}, "yes": {}, "10": {}} {
		if got := [2]bool{True(v), False(v)}; got != want {
			t.Errorf("%q: %v, want %v", v, got, want)
		}
	}
}

func TestHasLabel(t *testing.T) {
	labels := map[string]string{"app": "web", "empty": "", "eq": "a=b"}
	for want, has := range map[string]bool{"app": true, "app=web": true, "app=db": false, "empty": true, "empty=": true, "app=": false, "none": false, "eq=a=b": true, "eq=a": false} {
		if HasLabel(labels, want) != has {
			t.Errorf("%q: %v", want, !has)
		}
	}
}

func TestMoment(t *testing.T) {
	for v, want := range map[string]time.Time{
		"2026-01-02T03:04:05Z": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05":  time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local),
		"2026-01-02":           time.Date(2026, 1, 2, 0, 0, 0, 0, time.Local),
		"1700000000":           time.Unix(1700000000, 0),
	} {
		if got, ok := Moment(v); !ok || !got.Equal(want) {
			t.Errorf("%q: %v, %v; want %v", v, got, ok, want)
		}
	}
	if got, ok := Moment("2h"); !ok || time.Since(got) < 2*time.Hour || time.Since(got) > 3*time.Hour {
		t.Errorf("2h: %v, %v", got, ok)
	}
	for _, v := range []string{"", "soon", "2026-13-01"} {
		if got, ok := Moment(v); ok {
			t.Errorf("%q was read as %v", v, got)
		}
	}
}
