package engine

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/errdef"
	"berth/internal/host"
	"berth/internal/shim"
)

// Error is a sentence for people with a kind for programs.
type Error = errdef.Error

// Errors that callers tell apart. Each is wrapped by a message that names the
// object.
var (
	ErrNotFound     = errdef.ErrNotFound
	ErrConflict     = errdef.ErrConflict
	ErrInvalid      = errdef.ErrInvalid
	ErrNotRunning   = errdef.ErrNotRunning
	ErrNotSupported = errdef.ErrNotSupported
)

// StartError says that a container's program could not be run. Its code is
// what a shell would exit with: 126 for what cannot be executed, 127 for what
// is not there.
type StartError struct {
	Code int
	Text string
}

func (e *StartError) Error() string { return e.Text }

// ExitCode is for the face that ends with it.
func (e *StartError) ExitCode() int { return e.Code }

// ErrDetached is what the input of [Session.Copy] answers when the person has
// typed the detach keys.
var ErrDetached = errors.New("read escape sequence")

// startError words what a shim has answered.
func startError(err error, args []string) error {
	var f *shim.Failure
	if !errors.As(err, &f) || f.Errno == 0 {
		return err
	}
	errno := unix.Errno(f.Errno)
	switch f.Call {
	case "execve", "fail":
		return execError(args[0], errno)
	}
	if strings.Contains(f.What, "new namespaces") || strings.Contains(f.What, "map user ids") || strings.Contains(f.What, "mounts private") {
		// Ubuntu lets the namespace be made and takes its rights away.
		return &StartError{Code: 125, Text: host.ExplainUserns(errno).Error()}
	}
	if errno == unix.ENOSYS {
		return &StartError{Code: 125, Text: fmt.Sprintf("%s: this kernel has no %s: berth needs Linux 5.12 or newer", f.Message, f.Call)}
	}
	return &StartError{Code: 125, Text: f.Message}
}

func execError(name string, errno unix.Errno) error {
	code, why := 126, errno.Error()
	switch errno {
	case unix.ENOENT, unix.ENOTDIR:
		code, why = 127, "no such file or directory"
		if !strings.Contains(name, "/") {
			why = "executable file not found in $PATH"
		}
	}
	return &StartError{Code: code, Text: fmt.Sprintf("exec: %q: %s", name, why)}
}
