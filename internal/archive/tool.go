package archive

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"strings"
	"time"
)

// Tool is a program that unpacks its standard input to its standard output and
// ends with code 0 if all of that was right. Unpacking zstd is done by one,
// because the decoder costs every start of every program that links it.
type Tool struct {
	Path string
	Args []string // the first is the name it is called by
}

// start has src unpacked.
func (t Tool) start(src io.Reader) (io.ReadCloser, error) {
	if t.Path == "" {
		return nil, errors.New("it is packed with zstd, which this program cannot unpack")
	}
	run := &toolRun{cmd: &exec.Cmd{Path: t.Path, Args: t.Args, Stdin: src, WaitDelay: time.Second}}
	run.cmd.Stderr = &run.complaint
	out, err := run.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	run.out = out
	return run, run.cmd.Start()
}

// toolRun is the output of a running tool.
type toolRun struct {
	cmd       *exec.Cmd
	out       io.Reader
	complaint bytes.Buffer
	ended     bool
	err       error // what its end came to, once it has ended
}

func (t *toolRun) Read(b []byte) (int, error) {
	if t.ended {
		return 0, t.err
	}
	n, err := t.out.Read(b)
	if err != io.EOF {
		return n, err
	}
	// Only its exit code says that the end is one.
	t.ended, t.err = true, io.EOF
	if werr := t.cmd.Wait(); werr != nil {
		t.err = werr
		if text, _, _ := strings.Cut(strings.TrimSpace(t.complaint.String()), "\n"); text != "" {
			t.err = errors.New(text)
		}
	}
	return n, t.err
}

// Close ends the tool if it still runs.
func (t *toolRun) Close() error {
	if !t.ended {
		t.ended, t.err = true, io.ErrClosedPipe
		t.cmd.Process.Kill()
		t.cmd.Wait()
	}
	return nil
}
