package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/seccomp"
	"berth/internal/sys"
)

// filter is a compiled seccomp section.
type filter struct {
	programs [][]byte
	flags    uint64
	listener bool // somebody outside is to decide about some calls
}

// compileFilter compiles the seccomp section for a process. Compiled ones are
// kept, since reading and compiling takes longer than the rest of an exec.
func (a *app) compileFilter(s *specs.Spec, p *specs.Process) (filter, error) {
	if s.Linux == nil || s.Linux.Seccomp == nil {
		return filter{}, nil
	}
	section := *s.Linux.Seccomp
	var caps []string
	if p.Capabilities != nil {
		caps = p.Capabilities.Bounding
	}
	if slices.ContainsFunc(section.Syscalls, func(c specs.LinuxSyscall) bool { return c.Action == specs.ActNotify }) {
		return notifyFilter(&section, caps)
	}
	data, err := json.Marshal(section)
	if err != nil {
		return filter{}, err
	}
	cache := seccomp.Cache{Dir: filepath.Join(a.root, seccompDir)}
	code, err := cache.Program(string(data), runtime.GOARCH, caps, kernel())
	if err != nil || len(code) == 0 {
		return filter{}, err
	}
	section.Syscalls = nil
	head, err := seccomp.FromOCI(&section)
	if err != nil {
		return filter{}, err
	}
	return filter{programs: [][]byte{code}, flags: uint64(head.InstallFlags())}, nil
}

// lets reports whether the filter of a specification lets a system call through
// whatever its arguments are.
func lets(s *specs.Spec, call string) bool {
	if s.Linux == nil || s.Linux.Seccomp == nil {
		return true
	}
	ok := s.Linux.Seccomp.DefaultAction == specs.ActAllow
	for _, rule := range s.Linux.Seccomp.Syscalls {
		if slices.Contains(rule.Names, call) {
			ok = rule.Action == specs.ActAllow && len(rule.Args) == 0
			if !ok {
				return false
			}
		}
	}
	return ok
}

// notifyFilter compiles a section that has somebody outside decide.
func notifyFilter(s *specs.LinuxSeccomp, caps []string) (filter, error) {
	profile, err := seccomp.FromOCI(s)
	if err != nil {
		return filter{}, err
	}
	code, err := seccomp.Compile(profile, runtime.GOARCH, caps, kernel())
	return filter{programs: [][]byte{code}, flags: uint64(profile.InstallFlags()), listener: true}, err
}

func kernel() (k seccomp.Kernel) {
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &k.Major, &k.Minor)
	}
	return k
}

// sendListener hands the listener of a filter to the process that answers at
// listenerPath, with the state of the container and of its process pid, as the
// specification has it.
func sendListener(s *specs.LinuxSeccomp, listener *os.File, pid int, state specs.State) error {
	defer listener.Close()
	msg, err := json.Marshal(specs.ContainerProcessState{
		Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid, Metadata: s.ListenerMetadata, State: state,
	})
	if err != nil {
		return err
	}
	if err := sendFD(s.ListenerPath, msg, listener); err != nil {
		return fmt.Errorf("cannot hand the seccomp listener over: %w", err)
	}
	return nil
}

// sendFD sends a message with a descriptor to a socket.
func sendFD(path string, msg []byte, f *os.File) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return &os.PathError{Op: "connect", Path: path, Err: err}
	}
	n, err := unix.SendmsgN(fd, msg, unix.UnixRights(int(f.Fd())), nil, 0)
	if err == nil && n < len(msg) {
		err = sys.WriteAll(fd, msg[n:])
	}
	if err != nil {
		return &os.PathError{Op: "sendmsg", Path: path, Err: err}
	}
	return nil
}
