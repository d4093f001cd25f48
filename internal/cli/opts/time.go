package opts

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Time reads a moment as --since and --until take it: a duration back from
// now ("42m"), a date with or without time and zone, or seconds since 1970.
// Empty is the zero time.
func Time(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	if sec, nano, ok := unixTime(s); ok {
		return time.Unix(sec, nano), nil
	}
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02", "2006-01-02Z07:00",
		"2006-01-02T15:04Z07:00", "2006-01-02T15Z07:00",
	} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("invalid value for time: %q: use a duration such as 42m, or a date such as 2006-01-02T15:04:05", s)
}

// unixTime reads seconds with an optional fraction.
func unixTime(s string) (sec, nano int64, ok bool) {
	whole, fraction, hasFraction := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	if hasFraction {
		if len(fraction) > 9 || fraction == "" {
			return 0, 0, false
		}
		fraction += strings.Repeat("0", 9-len(fraction))
		if nano, err = strconv.ParseInt(fraction, 10, 64); err != nil || nano < 0 {
			return 0, 0, false
		}
	}
	return sec, nano, true
}
