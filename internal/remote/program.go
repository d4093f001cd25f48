package remote

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"berth/internal/userns"
)

// program is the process that talks to registries.
type program struct {
	in, out *os.File // its standard input and output
	kill    func()
	end     func() string // waits for it; how it ended

	complaints bytes.Buffer // of a crash; the program itself is silent here
	heard      chan struct{}
}

// launch starts the program, in the user namespace ns unless that is nil.
func launch(path string, ns *os.File) (_ *program, err error) {
	var theirs [3]*os.File
	p := &program{heard: make(chan struct{})}
	defer func() {
		for _, f := range theirs {
			f.Close() // nil is closed without harm
		}
		if err != nil {
			p.in.Close()
			p.out.Close()
		}
	}()
	if theirs[0], p.in, err = os.Pipe(); err != nil {
		return nil, err
	}
	if p.out, theirs[1], err = os.Pipe(); err != nil {
		return nil, err
	}
	complaints, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	theirs[2] = to
	if ns == nil {
		err = p.start(path, theirs[:])
	} else {
		err = p.startInside(path, theirs[:], ns)
	}
	if err != nil {
		complaints.Close()
		return nil, err
	}
	go func() {
		io.Copy(&p.complaints, io.LimitReader(complaints, 64<<10))
		complaints.Close()
		close(p.heard)
	}()
	return p, nil
}

func (p *program) start(path string, files []*os.File) error {
	proc, err := os.StartProcess(path, []string{Arg0}, &os.ProcAttr{Files: files})
	if err != nil {
		return err
	}
	p.kill = func() { proc.Kill() }
	p.end = func() string {
		st, err := proc.Wait()
		if err != nil {
			return err.Error()
		}
		return st.String()
	}
	return nil
}

func (p *program) startInside(path string, files []*os.File, ns *os.File) error {
	proc, err := userns.Start(ns, userns.Command{Path: path, Args: []string{Arg0}, Env: os.Environ(), Files: files})
	if err != nil {
		return err
	}
	p.kill = proc.Kill
	p.end = func() string { return fmt.Sprintf("exit status %d", proc.Wait()) }
	return nil
}

// wait waits for the end of the program and returns how it ended, and the first
// line of what it has said to that.
func (p *program) wait() (end, said string) {
	end = p.end()
	<-p.heard
	p.out.Close()
	return end, firstLine(p.complaints.String())
}
