// Package platform reads and compares the platforms that images are built
// for: linux/amd64, linux/arm64/v8. An image list offers several, and the
// machine (or the user, with --platform) wants one.
package platform

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
)

// Platform is an operating system, an architecture and, for some, a variant
// of it. The names are Go's, as in OCI images.
type Platform struct{ OS, Arch, Variant string }

// Host returns the platform of this machine.
func Host() Platform {
	p := Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}
	if p.Arch == "arm" {
		p.Variant = "v7"
	}
	return p
}

// Parse reads os[/arch[/variant]] or a bare architecture. Empty means the
// host's platform.
func Parse(s string) (Platform, error) {
	if s == "" {
		return Host(), nil
	}
	parts := strings.Split(s, "/")
	for _, p := range parts {
		if !wellFormed(p) {
			return Platform{}, invalid(s)
		}
	}
	switch len(parts) {
	case 1:
		if known(strings.ToLower(s)) {
			return Platform{OS: strings.ToLower(s), Arch: Host().Arch, Variant: Host().Variant}, nil
		}
		return New(runtime.GOOS, s, ""), nil
	case 2:
		return New(parts[0], parts[1], ""), nil
	case 3:
		return New(parts[0], parts[1], parts[2]), nil
	}
	return Platform{}, invalid(s)
}

func invalid(s string) error {
	return fmt.Errorf("%q is an invalid platform: write it as os/arch[/variant], for example linux/arm64", s)
}

func wellFormed(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '_' && s[i] != '-' && s[i] != '.' {
			return false
		}
	}
	return s != ""
}

// known reports whether a lone word is an operating system; else it is taken
// for an architecture.
func known(os string) bool {
	switch os {
	case "linux", "windows", "darwin", "freebsd":
		return true
	}
	return false
}

// New returns a platform with the spellings made uniform, so that x86_64 is
// amd64, and the variants that mean nothing (arm64/v8, amd64/v1) left out.
func New(os, arch, variant string) Platform {
	p := Platform{OS: strings.ToLower(os), Arch: strings.ToLower(arch), Variant: strings.ToLower(variant)}
	switch p.Arch {
	case "x86_64", "x86-64":
		p.Arch = "amd64"
	case "aarch64":
		p.Arch = "arm64"
	case "i386", "i486", "i586", "i686", "x86":
		p.Arch, p.Variant = "386", ""
	case "armhf":
		p.Arch, p.Variant = "arm", "v7"
	case "armel":
		p.Arch, p.Variant = "arm", "v6"
	}
	if p.Variant != "" && p.Variant[0] >= '0' && p.Variant[0] <= '9' {
		p.Variant = "v" + p.Variant
	}
	switch {
	case p.Arch == "arm64" && p.Variant == "v8", p.Arch == "amd64" && p.Variant == "v1":
		p.Variant = ""
	case p.Arch == "arm" && p.Variant == "":
		p.Variant = "v7"
	}
	return p
}

// String returns os/arch[/variant].
func (p Platform) String() string {
	s := p.OS + "/" + p.Arch
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Fit says how well an image for platform have serves one who wants p: 0 not
// at all, more is better. A machine runs what is built for older variants of
// itself.
func (p Platform) Fit(have Platform) int {
	if p.OS != have.OS || p.Arch != have.Arch {
		return 0
	}
	if p.Variant == have.Variant {
		return 100
	}
	want, okWant := p.level()
	got, okHave := have.level()
	if !okWant || !okHave || got > want {
		return 0
	}
	return 100 - (want - got)
}

// level returns the number in a variant.
func (p Platform) level() (int, bool) {
	if p.Variant == "" {
		switch p.Arch {
		case "arm64":
			return 8, true
		case "amd64":
			return 1, true
		}
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimPrefix(p.Variant, "v"))
	return n, err == nil && n > 0 && n < 50
}
