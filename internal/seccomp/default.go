package seccomp

import (
	"runtime"
	"slices"
)

// DefaultProfile returns Docker's default profile.
func DefaultProfile() *Profile { return &defaultProfile }

// Default is the filter of Docker's default profile: see [Compile] for the
// arguments. For a container with the usual capabilities it lies ready.
func Default(goarch string, caps []string, kernel Kernel) ([]byte, error) {
	if builtin != "" && goarch == runtime.GOARCH && kernel.atLeast(Kernel{4, 8}) && usual(caps) {
		return []byte(builtin), nil
	}
	return Compile(&defaultProfile, goarch, caps, kernel)
}

// usual reports whether the default profile treats these capabilities like
// those that a container has when nobody asks for others. Of all the ones it
// looks at, that is a single one.
func usual(caps []string) bool {
	for _, c := range defaultCaps {
		if slices.Contains(caps, c) != (c == "CAP_SYS_CHROOT") {
			return false
		}
	}
	return true
}
