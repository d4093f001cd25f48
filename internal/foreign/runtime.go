package foreign

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// Runtime is one container in the hands of another runtime: plain data, which
// travels in the plan.
type Runtime struct {
	Path   string   `json:"path"`           // of its program
	Args   []string `json:"args,omitempty"` // ahead of everything else
	Env    []string `json:"env,omitempty"`  // what it sees
	ID     string   `json:"id"`
	Bundle string   `json:"bundle"` // absolute: config.json, and the files we exchange
	State  string   `json:"state"`  // its --root

	// Enclose mounts the root file system and passes its namespaces;
	// Visit enters them again. Both lack the execve at their end.
	Enclose *nsinit.Program `json:"-"`
	Visit   *nsinit.Program `json:"-"`
}

// Files in the bundle.
const (
	ConfigFile = "config.json"
	pidFile    = "pid"
	logFile    = "runtime.log"
)

// Error is what the runtime says about a call that failed.
type Error struct {
	Runtime, Verb, Text string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s %s: %s", filepath.Base(e.Runtime), e.Verb, e.Text)
}

// Streams are the standard streams of a process, or its terminal.
type Streams struct {
	Files [3]*os.File // ignored with Tty
	Tty   bool
}

// Process is one that the runtime has made. It is our child.
type Process struct {
	Pid     int
	Console *os.File   // master of its terminal
	Passed  []*os.File // namespaces of the enclosure; of a first process
}

// Create has the container made: its first process waits for [Runtime.Start].
// A container of the same name that is left from before is removed first.
func (r *Runtime) Create(s Streams, regs map[nsinit.Reg]int) (*Process, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, os.NewSyscallError("prctl", err)
	}
	if _, err := os.Lstat(filepath.Join(r.State, r.ID)); err == nil {
		c := call{prog: r.Enclose, regs: regs}
		r.run(&c, "delete", "--force", r.ID)
		closeAll(c.passed)
	}
	return r.process(&call{prog: r.Enclose, regs: regs, streams: s}, "create", "--bundle", r.Bundle)
}

// Start lets the first process go on. Regs are the namespaces of the enclosure.
func (r *Runtime) Start(regs map[nsinit.Reg]int) error {
	return r.run(&call{prog: r.Visit, regs: regs}, "start", r.ID)
}

// Kill sends the first process a signal.
func (r *Runtime) Kill(regs map[nsinit.Reg]int, sig int) error {
	return r.run(&call{prog: r.Visit, regs: regs}, "kill", r.ID, strconv.Itoa(sig))
}

// Pause freezes the container, Resume lets it go on.
func (r *Runtime) Pause(regs map[nsinit.Reg]int) error {
	return r.run(&call{prog: r.Visit, regs: regs}, "pause", r.ID)
}

// Resume is the end of [Runtime.Pause].
func (r *Runtime) Resume(regs map[nsinit.Reg]int) error {
	return r.run(&call{prog: r.Visit, regs: regs}, "resume", r.ID)
}

// Delete takes away what is left of the container, and ends it if it runs.
func (r *Runtime) Delete(regs map[nsinit.Reg]int) error {
	return r.run(&call{prog: r.Visit, regs: regs}, "delete", "--force", r.ID)
}

// process makes a process by a verb that takes --pid-file and --console-socket.
func (r *Runtime) process(c *call, verb string, args ...string) (*Process, error) {
	pidPath := filepath.Join(r.Bundle, pidFile)
	if err := os.Remove(pidPath); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	args = append(args, "--pid-file", pidPath)
	var console *listener
	if c.streams.Tty {
		var err error
		if console, err = listen(r.State); err != nil {
			return nil, err
		}
		defer console.close()
		args = append(args, "--console-socket", console.path)
	}
	if err := r.run(c, verb, append(args, r.ID)...); err != nil {
		closeAll(c.passed)
		return nil, err
	}
	p := &Process{Passed: c.passed}
	var err error
	if p.Pid, err = readPid(pidPath); err == nil && console != nil {
		p.Console, err = console.receive()
	}
	if err != nil {
		if p.Pid > 0 {
			unix.Kill(p.Pid, unix.SIGKILL)
		}
		closeAll(p.Passed)
		return nil, fmt.Errorf("%s %s: %w", filepath.Base(r.Path), verb, err)
	}
	return p, nil
}

func readPid(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err == nil && pid <= 1 {
		err = fmt.Errorf("process %d cannot be a container's", pid)
	}
	return pid, err
}

// create makes a file that is not there yet.
func create(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// WriteConfig writes the specification into the bundle.
func (r *Runtime) WriteConfig(spec any) error {
	if err := os.MkdirAll(r.Bundle, 0o700); err != nil {
		return err
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	path := filepath.Join(r.Bundle, ConfigFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return create(path, b)
}
