// Package filter reads the values of Docker's --filter options, which mean the
// same in every list: truth, labels, moments.
package filter

import (
	"strconv"
	"strings"
	"time"
)

// True reports whether a value says yes, as Go's ParseBool and Docker do.
func True(s string) bool {
	return s == "1" || strings.EqualFold(s, "true") || strings.EqualFold(s, "t")
}

// False reports whether a value says no. What is neither is an error of the
// person who typed it.
func False(s string) bool {
	return s == "0" || strings.EqualFold(s, "false") || strings.EqualFold(s, "f")
}

// HasLabel tests labels for "key" or "key=value".
func HasLabel(labels map[string]string, want string) bool {
	key, value, withValue := strings.Cut(want, "=")
	got, ok := labels[key]
	return ok && (!withValue || got == value)
}

// Moment reads a point in time: a span back from now ("24h"), a date with or
// without a time of day, or seconds since 1970.
func Moment(v string) (t time.Time, ok bool) {
	if d, err := time.ParseDuration(v); err == nil {
		return time.Now().Add(-d), true
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, v, time.Local); err == nil {
			return t, true
		}
	}
	if n, err := strconv.ParseInt(v, 10, 64); err == nil {
		return time.Unix(n, 0), true
	}
	return time.Time{}, false
}
