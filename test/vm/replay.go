package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/test/lab"
)

// event is a line of go tool test2json: see "go doc test2json".
type event struct {
	Action, Test, Output string
}

// outcome is a test that ran elsewhere, with its subtests in order.
type outcome struct {
	name   string // the last part of it
	action string // pass, fail, skip, or empty: it never came to its end
	output strings.Builder
	sub    []*outcome
}

// tests runs the compiled tests of a package in a session and makes subtests
// of t of theirs. filter is an expression for -test.run.
func (s *session) tests(t *testing.T, p, filter string, env ...string) {
	t.Helper()
	patience := 30 * time.Minute
	if d, ok := t.Deadline(); ok {
		patience = min(patience, time.Until(d)-10*time.Second)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	line := fmt.Sprintf("cd %s && %s=\"$(cat %s/lab.json)\" BERTH_TEST_SLOW=20 %s exec ./tests -test.v=test2json -test.parallel=2 -test.timeout=%s -test.run='%s'",
		folder(bench, p), lab.Handed, bench, strings.Join(env, " "), patience.Round(time.Second), filter)
	cmd := s.command(ctx, line)
	var said, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &errs
	if dir := os.Getenv("BERTH_VM_LOG"); dir != "" { // to see it as it goes
		name := filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-"))
		log, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		cmd.Stdout = io.MultiWriter(&said, log)
	}
	err := cmd.Run()
	top, parseErr := parse(said.Bytes())
	if parseErr != nil {
		t.Fatal(parseErr)
	}
	if len(top.sub) == 0 {
		t.Fatalf("no test of %s ran: %v\n%s%s", p, err, said.String(), errs.String())
	}
	top.replay(t)
	if err != nil && !t.Failed() {
		t.Errorf("the tests ended with %v:\n%s%s", err, top.output.String(), errs.String())
	}
}

// parse makes a tree of what a test program has said.
func parse(said []byte) (*outcome, error) {
	convert := exec.Command("go", "tool", "test2json")
	convert.Stdin = bytes.NewReader(said)
	var complaint strings.Builder
	convert.Stderr = &complaint
	events, err := convert.Output()
	if err != nil {
		return nil, fmt.Errorf("go tool test2json: %w\n%s", err, complaint.String())
	}
	top := &outcome{}
	for in := json.NewDecoder(bytes.NewReader(events)); in.More(); {
		var e event
		if err := in.Decode(&e); err != nil {
			return nil, err
		}
		at := top.find(e.Test)
		switch e.Action {
		case "output":
			at.output.WriteString(e.Output)
		case "pass", "fail", "skip":
			at.action = e.Action
		}
	}
	return top, nil
}

// find returns the test of that full name, and adds it when it is new.
func (o *outcome) find(name string) *outcome {
	if name == "" {
		return o
	}
	first, rest, _ := strings.Cut(name, "/")
	for _, s := range o.sub {
		if s.name == first {
			return s.find(rest)
		}
	}
	s := &outcome{name: first}
	o.sub = append(o.sub, s)
	return s.find(rest)
}

// replay reports the subtests below t.
func (o *outcome) replay(t *testing.T) {
	for _, s := range o.sub {
		t.Run(s.name, func(t *testing.T) {
			s.replay(t)
			switch s.action {
			case "pass":
			case "skip":
				t.Skip(s.output.String())
			case "fail":
				t.Error(s.output.String())
			default:
				t.Errorf("did not end:\n%s", s.output.String())
			}
		})
	}
}
