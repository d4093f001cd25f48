package foreign

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
	"berth/internal/sys"
)

// call is one call of the runtime's program.
type call struct {
	prog    *nsinit.Program // gets to where the runtime shall run
	regs    map[nsinit.Reg]int
	streams Streams
	passed  []*os.File
}

// complaintsSize bounds what is kept of a runtime's standard error, bytes.
const complaintsSize = 4 << 10

// run calls the runtime and waits for its end, which must be a success.
func (r *Runtime) run(c *call, verb string, args ...string) error {
	log := filepath.Join(r.Bundle, logFile)
	os.Remove(log)
	argv := append(r.command("--log", log, "--log-format", "json", verb), args...)
	status, complaints, err := r.spawn(c, argv)
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", r.Path, err)
	}
	if status.ExitStatus() == 0 {
		return nil
	}
	text := lastError(log)
	if text == "" {
		text = lastLine(complaints)
	}
	if text == "" {
		text = fmt.Sprintf("ended with code %d", status.ExitStatus())
	}
	return &Error{Runtime: r.Path, Verb: verb, Text: text}
}

// command begins a command line.
func (r *Runtime) command(more ...string) []string {
	argv := append([]string{r.Path}, r.Args...)
	return append(append(argv, "--root", r.State), more...)
}

// spawn runs argv where the call's program leads to, and reaps it.
func (r *Runtime) spawn(c *call, argv []string) (unix.WaitStatus, []byte, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	files := c.streams.Files
	ours := files[2] == nil || c.streams.Tty // the streams are no process's that goes on
	var ear, mouth *os.File
	if ours {
		if ear, mouth, err = os.Pipe(); err != nil {
			return 0, nil, err
		}
		defer ear.Close()
		files = [3]*os.File{null, null, mouth}
	}
	regs := map[nsinit.Reg]int{}
	for n, fd := range c.regs {
		regs[n] = fd
	}
	for i, f := range files {
		regs[nsinit.RegStdin+nsinit.Reg(i)] = int(f.Fd())
	}
	child, err := nsinit.Spawn(withExec(c.prog, argv, r.Env), regs)
	if mouth != nil {
		mouth.Close()
	}
	if err != nil {
		return 0, nil, err
	}
	c.passed = child.FDs
	var complaints []byte
	if ear != nil {
		complaints, _ = io.ReadAll(io.LimitReader(ear, complaintsSize))
	}
	return sys.Wait(child.Pid), complaints, nil
}

// withExec completes a program: standard streams, nothing else open, execve.
func withExec(p *nsinit.Program, argv, env []string) *nsinit.Program {
	out := &nsinit.Program{Flags: p.Flags, Ops: slices.Clone(p.Ops)}
	for i, r := range []nsinit.Reg{nsinit.RegStdin, nsinit.RegStdout, nsinit.RegStderr} {
		out.Ops = append(out.Ops, nsinit.Op{Call: "dup3", Args: []nsinit.Arg{nsinit.Ref(r), nsinit.Int(i), nsinit.Int(0)}, What: "set up standard streams"})
	}
	out.Ops = append(out.Ops,
		nsinit.Op{Call: nsinit.CallClose, What: "close descriptors"},
		nsinit.Op{Call: "execve", Args: []nsinit.Arg{nsinit.Str(argv[0]), nsinit.Vec(argv), nsinit.Vec(env)}, What: "run " + argv[0]})
	return out
}

// lastError returns the last error in a log of JSON lines, which all these
// runtimes write.
func lastError(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	text := ""
	for line := range bytes.Lines(b) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(line, &entry) == nil && entry.Msg != "" && (entry.Level == "error" || entry.Level == "fatal") {
			text = entry.Msg
		}
	}
	return text
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
