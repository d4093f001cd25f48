// Package ref reads names of images as Docker does. "busybox" is short for
// docker.io/library/busybox:latest: a name without a registry belongs to
// Docker Hub, a Hub name without an owner to its "library", and a name with
// neither tag nor digest means the tag "latest".
//
// The grammar is small and parsed by hand, because every command that names
// an image pays for this package at its start.
package ref

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// DefaultDomain is the registry of names that give none.
	DefaultDomain = "docker.io"
	// DefaultTag is the tag of names with neither tag nor digest.
	DefaultTag = "latest"

	legacyDomain   = "index.docker.io"
	officialPrefix = "library/"
	maxPath        = 255
	maxTag         = 128
)

// ErrInvalid says that a text is not the name of an image. Every error of
// this package wraps it.
var ErrInvalid = errors.New("invalid reference format")

// Ref is the full name of an image. At least one of Tag and Digest is set in
// what [Parse] returns; when both are, the digest decides and the tag is only
// said along.
type Ref struct {
	Domain string // docker.io, localhost:5000
	Path   string // library/busybox
	Tag    string // latest, or empty
	Digest string // sha256:… with 64 digits, or empty
}

// Parse reads a name and completes it: registry, library and tag.
func Parse(s string) (Ref, error) {
	r, err := ParseName(s)
	if err == nil && r.Tag == "" && r.Digest == "" {
		r.Tag = DefaultTag
	}
	return r, err
}

// ParseName is [Parse] that leaves Tag empty when the text has none, for
// callers to whom it matters whether a tag was given.
func ParseName(s string) (Ref, error) {
	if isHex(s) && len(s) == 64 {
		return Ref{}, fmt.Errorf("%w: invalid repository name (%s), cannot specify 64-byte hexadecimal strings", ErrInvalid, s)
	}
	domain, rest := splitDomain(s)
	if upto, _, _ := strings.Cut(rest, ":"); upto != strings.ToLower(upto) {
		return Ref{}, fmt.Errorf("%w: repository name (%s) must be lowercase", ErrInvalid, upto)
	}
	r := Ref{Domain: domain}
	name, digest, hasDigest := strings.Cut(rest, "@")
	path, tag, hasTag := strings.Cut(name, ":")
	if !validDomain(domain) || !validPath(path) || hasTag && !validTag(tag) {
		return Ref{}, ErrInvalid
	}
	if len(path) > maxPath {
		return Ref{}, fmt.Errorf("%w: repository name must not be more than %d characters", ErrInvalid, maxPath)
	}
	if hasDigest {
		if err := CheckDigest(digest); err != nil {
			return Ref{}, err
		}
	}
	r.Path, r.Tag, r.Digest = path, tag, digest
	return r, nil
}

// splitDomain tells the registry from the rest. What stands before the first
// slash is a registry when it could not be the owner of a Hub repository: it
// has a dot, a port or an upper-case letter, or is "localhost".
func splitDomain(s string) (domain, rest string) {
	first, after, slash := strings.Cut(s, "/")
	switch {
	case !slash:
		return DefaultDomain, officialPrefix + s
	case first == legacyDomain:
		domain, rest = DefaultDomain, after
	case looksLikeDomain(first):
		domain, rest = first, after
	default:
		domain, rest = DefaultDomain, s
	}
	if domain == DefaultDomain && !strings.Contains(rest, "/") {
		rest = officialPrefix + rest
	}
	return domain, rest
}

func looksLikeDomain(s string) bool {
	return s == "localhost" || strings.ContainsAny(s, ".:") || s != strings.ToLower(s)
}

// ShortDigest is what people are shown of a digest: its first 12 digits.
func ShortDigest(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return hex[:min(12, len(hex))]
}

// CheckDigest reports whether s is a digest berth can verify.
func CheckDigest(s string) error {
	algorithm, hex, ok := strings.Cut(s, ":")
	if !ok || algorithm == "" || len(hex) < 32 || !isHex(strings.ToLower(hex)) {
		return ErrInvalid
	}
	if algorithm != "sha256" {
		return fmt.Errorf("%w: unsupported digest algorithm %q", ErrInvalid, algorithm)
	}
	if len(hex) != 64 || !isHex(hex) {
		return fmt.Errorf("%w: invalid checksum digest length", ErrInvalid)
	}
	return nil
}

// String returns the full name, docker.io/library/busybox:latest. Parse of it
// gives the same Ref.
func (r Ref) String() string { return r.Name() + r.suffix() }

// Familiar returns the name as people write it, busybox:latest.
func (r Ref) Familiar() string { return r.FamiliarName() + r.suffix() }

func (r Ref) suffix() string {
	s := ""
	if r.Tag != "" {
		s = ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// Name returns registry and repository, docker.io/library/busybox.
func (r Ref) Name() string { return r.Domain + "/" + r.Path }

// FamiliarName returns the repository as people write it: without docker.io,
// and without library when that still means the same.
func (r Ref) FamiliarName() string {
	if r.Domain != DefaultDomain {
		return r.Name()
	}
	if short, ok := strings.CutPrefix(r.Path, officialPrefix); ok && !strings.Contains(short, "/") {
		return short
	}
	if first, _, _ := strings.Cut(r.Path, "/"); looksLikeDomain(first) {
		return r.Name()
	}
	return r.Path
}

// WithTag returns the name of another tag in the same repository.
func (r Ref) WithTag(tag string) (Ref, error) {
	if !validTag(tag) {
		return Ref{}, fmt.Errorf("%w: invalid tag %q", ErrInvalid, tag)
	}
	r.Tag, r.Digest = tag, ""
	return r, nil
}

// WithDigest returns the name of what the digest names in the same
// repository.
func (r Ref) WithDigest(digest string) Ref {
	r.Tag, r.Digest = "", digest
	return r
}

// IsDigested reports whether a digest pins the image.
func (r Ref) IsDigested() bool { return r.Digest != "" }
