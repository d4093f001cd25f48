package format

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/docker/go-units"
)

// Ago says how long ago something was: "3 seconds ago".
func Ago(now, then time.Time) string {
	return units.HumanDuration(now.Sub(then)) + " ago"
}

// Size writes a number of bytes with three digits.
func Size(n int64) string { return units.HumanSizeWithPrecision(float64(n), 3) }

// ShortID cuts an ID to the 12 digits that people know it by.
func ShortID(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	if len(id) > 12 {
		id = id[:12]
	}
	return id
}

// Shorten cuts text to at most n characters, the last of them "…".
func Shorten(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}

// Pairs writes a map as k=v,k=v in order.
func Pairs(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, ",")
}

// HumanSize writes a number of bytes with four digits.
func HumanSize(n uint64) string { return units.HumanSize(float64(n)) }
