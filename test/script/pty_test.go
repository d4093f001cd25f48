package script

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"berth/test/lab"
)

func cmdPty(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: pty file cmd args...")
	}
	steps := strings.Split(ts.ReadFile(args[0]), "\n")
	prog, err := lookPath(ts, args[1])
	ts.Check(err)
	cmd := exec.Command(prog, args[2:]...)
	cmd.Args[0] = args[1]
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = environ(ts)
	term, err := lab.StartTerminal(cmd, 24, 80)
	ts.Check(err)
	ended := false
	for _, line := range steps {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if verb == "" || strings.HasPrefix(verb, "#") {
			continue
		}
		if err := step(term, verb, rest); err != nil {
			term.Hangup()
			cmd.Process.Kill()
			ts.Fatalf("%s: %s: %v\nall that was shown: %q", args[0], line, err, term.Seen())
		}
		ended = ended || verb == "exit" || verb == "end" || verb == "hangup"
	}
	if !ended {
		term.Hangup()
		cmd.Process.Kill()
		ts.Fatalf("%s ends with none of exit, end and hangup", args[0])
	}
	fmt.Fprint(ts.Stdout(), term.Seen())
}

func step(term *lab.Terminal, verb, rest string) error {
	switch verb {
	case "expect":
		_, err := term.Expect(rest, lab.Patience)
		return err
	case "within":
		limit, pattern, _ := strings.Cut(rest, " ")
		d, err := time.ParseDuration(limit)
		if err != nil {
			return err
		}
		_, err = term.Expect(pattern, d)
		return err
	case "send":
		text, err := strconv.Unquote(rest)
		if err != nil {
			return err
		}
		return term.Send(text)
	case "resize":
		var rows, cols uint16
		if _, err := fmt.Sscan(rest, &rows, &cols); err != nil {
			return err
		}
		return term.Resize(rows, cols)
	case "hangup":
		if err := term.Hangup(); err != nil {
			return err
		}
		_, err := term.Wait(lab.Patience)
		return err
	case "sleep":
		d, err := time.ParseDuration(rest)
		if err != nil {
			return err
		}
		time.Sleep(d)
		return nil
	case "end": // whatever the code
		_, err := term.Wait(lab.Patience)
		return err
	case "exit":
		want, err := strconv.Atoi(rest)
		if err != nil {
			return err
		}
		got, err := term.Wait(lab.Patience)
		if err == nil && got != want {
			err = fmt.Errorf("exit code %d", got)
		}
		return err
	}
	return fmt.Errorf("unknown step")
}
