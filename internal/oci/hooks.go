package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// Hooks are programs of the host that the configuration names. They get the
// container's state on standard input and nothing else of ours: their
// environment is their own (one that came from an image would choose the
// libraries they load, CVE-2025-23266), and no descriptor stays open.

// hookPlace runs hooks of one stage.
type hookPlace struct {
	stage string // as config.json calls it, for errors
	state specs.State
	// namespaces of the process state.Pid that hooks of this stage are to run
	// in, as CLONE_NEW* flags; none are the caller's.
	namespaces uint64
}

// run runs hooks one after the other until one fails.
func (p hookPlace) run(hooks []specs.Hook) error {
	in, err := json.Marshal(p.state)
	if err != nil {
		return err
	}
	for i, h := range hooks {
		one := hereHook
		if p.namespaces != 0 {
			one = p.inside
		}
		if err := one(h, in); err != nil {
			return fmt.Errorf("error running %s hook #%d: %w", p.stage, i, err)
		}
	}
	return nil
}

// hookArgs are the words a hook is called with, the first of them its name.
func hookArgs(h specs.Hook) []string {
	if len(h.Args) == 0 {
		return []string{h.Path}
	}
	return h.Args
}

// hookDeadline ends when the hook must have ended.
func hookDeadline(h specs.Hook) (context.Context, context.CancelFunc) {
	if h.Timeout == nil {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), time.Duration(*h.Timeout)*time.Second)
}

// hereHook runs a hook in the caller's namespaces.
func hereHook(h specs.Hook, in []byte) error {
	ctx, cancel := hookDeadline(h)
	defer cancel()
	// What our caller has left open for the container is not for hooks. The
	// process that the container begins with has its own descriptors already.
	if err := unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC); err != nil && err != unix.ENOSYS && err != unix.EINVAL {
		return os.NewSyscallError("close_range", err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, h.Path)
	cmd.Args, cmd.Env = hookArgs(h), append([]string{}, h.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &out
	// A child of the hook may keep the output open for ever.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return hookError(h, ctx, err, out.Bytes())
}

func hookError(h specs.Hook, ctx context.Context, err error, out []byte) error {
	if ctx.Err() == context.DeadlineExceeded {
		return fmt.Errorf("%s ran past its timeout of %d s", h.Path, *h.Timeout)
	}
	if err == nil {
		return nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) || errors.As(err, new(hookExit)) {
		// What it printed is the reason, on one line.
		text := strings.Join(strings.Fields(string(out)), " ")
		return fmt.Errorf("%s: %w, stdout and stderr: %s", h.Path, err, text)
	}
	return err
}

// hookExit is how a hook in a container's namespaces ended.
type hookExit struct{ unix.WaitStatus }

func (e hookExit) Error() string {
	if e.Signaled() {
		return "signal: " + e.Signal().String()
	}
	return fmt.Sprintf("exit status %d", e.ExitStatus())
}

// inside runs a hook in the namespaces of the container. Its path counts there:
// before pivot_root(2), where createContainer hooks run, the host's files are
// still in place.
func (p hookPlace) inside(h specs.Hook, in []byte) error {
	ctx, cancel := hookDeadline(h)
	defer cancel()
	stdin, err := filled(in)
	if err != nil {
		return err
	}
	defer stdin.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	pidfd, err := unix.PidfdOpen(p.state.Pid, 0)
	if err != nil {
		w.Close()
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child, err := nsinit.Spawn(hookProgram(h, p.namespaces), map[nsinit.Reg]int{
		nsinit.RegStdin: int(stdin.Fd()), nsinit.RegStdout: int(w.Fd()), nsinit.RegPidfd: pidfd,
	})
	w.Close()
	if err != nil {
		return err
	}
	out := make(chan []byte, 1)
	go func() {
		text, _ := io.ReadAll(io.LimitReader(r, 64<<10))
		out <- text
	}()
	err = waitHook(ctx, child.Pid)
	r.SetReadDeadline(time.Now().Add(time.Second)) // as above: children keep it open
	return hookError(h, ctx, err, <-out)
}

// waitHook reaps a hook, and kills it when it is late.
func waitHook(ctx context.Context, pid int) error {
	stop := context.AfterFunc(ctx, func() { unix.Kill(pid, unix.SIGKILL) })
	defer stop()
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err == nil && ws != 0 {
			err = hookExit{ws}
		}
		return err
	}
}

// filled is a file in memory to read from: a pipe would want somebody to fill it.
func filled(data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("state", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "state")
	if _, err = f.Write(data); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
	}
	return f, err
}

// hookProgram joins the namespaces and executes the hook, as root there.
func hookProgram(h specs.Hook, namespaces uint64) *nsinit.Program {
	zero := nsinit.Int(0)
	p := &nsinit.Program{}
	do := func(what, call string, args ...nsinit.Arg) {
		p.Ops = append(p.Ops, nsinit.Op{Call: call, Args: args, What: what})
	}
	do("join the container's namespaces", "setns", nsinit.Ref(nsinit.RegPidfd), nsinit.Flags(namespaces))
	if namespaces&unix.CLONE_NEWUSER != 0 {
		do("become root of the container", "setresgid", zero, zero, zero)
		do("become root of the container", "setresuid", zero, zero, zero)
	}
	do("make a process", nsinit.CallClone, zero)
	for fd, reg := range []nsinit.Reg{nsinit.RegStdin, nsinit.RegStdout, nsinit.RegStdout} {
		do("connect the hook", "dup3", nsinit.Ref(reg), nsinit.Int(fd), zero)
	}
	do("close descriptors", nsinit.CallClose, zero)
	do("execute "+h.Path, "execve", nsinit.Str(h.Path), nsinit.Vec(hookArgs(h)), nsinit.Vec(append([]string{}, h.Env...)))
	return p
}
