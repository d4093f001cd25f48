//go:build !amd64 && !arm64

package seccomp

// These are empty where filters are compiled when they are needed.
const (
	builtin         = ""
	builtinFakeRoot = ""
)
