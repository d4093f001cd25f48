// Package digest stands in for github.com/opencontainers/go-digest, of which
// Docker's API types use nothing but the name of one type. The original
// compiles regular expressions at every start of every program that links it,
// a tenth of the time that berth takes to start. See docs/adr/0006.
package digest

import "strings"

// Digest is an algorithm and a hexadecimal value, "sha256:…".
type Digest string

// String returns the digest as it is.
func (d Digest) String() string { return string(d) }

// Encoded returns the part after the algorithm.
func (d Digest) Encoded() string {
	_, hex, _ := strings.Cut(string(d), ":")
	return hex
}
