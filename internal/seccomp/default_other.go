//go:build !amd64 && !arm64

package seccomp

// builtin is empty where the default filter is compiled when it is needed.
const builtin = ""
