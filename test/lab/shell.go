package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Shell is a person at a shell prompt in a terminal window.
type Shell struct {
	t    T
	term *Terminal
}

// Prompts of the two places a person types in: the host's shell, and a root
// shell in a container (bash of Debian, or busybox).
const (
	HostPrompt      = `(?m)^\r*host\$ $`
	ContainerPrompt = `(?m)^\r*(root@[^\n]*|[^\n ]* )# ?$`
)

// Shell opens a terminal window with bash in the place. It is closed with the
// test.
func (p *Place) Shell(t T) *Shell {
	t.Helper()
	// Without this readline wraps what is pasted in escape sequences.
	inputrc := filepath.Join(p.Home, ".inputrc")
	if err := os.WriteFile(inputrc, []byte("set enable-bracketed-paste off\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := p.Command("/bin/bash", "--noprofile", "--norc", "-i")
	cmd.Env = append(cmd.Env, "PS1=host$ ", "INPUTRC="+inputrc, "HISTFILE=")
	term, err := StartTerminal(cmd, 50, 160)
	if err != nil {
		t.Fatal(err)
	}
	s := &Shell{t: t, term: term}
	t.Cleanup(func() {
		term.Hangup()
		cmd.Process.Kill()
		cmd.Wait()
	})
	s.Wait(HostPrompt)
	return s
}

// Wait waits for a prompt or any other text and returns what was shown before.
func (s *Shell) Wait(pattern string) string {
	s.t.Helper()
	from := s.term.read
	if _, err := s.term.Expect(pattern, Patience); err != nil {
		s.t.Fatal(err)
	}
	return strings.ReplaceAll(s.term.text()[from:s.term.read], "\r", "")
}

// Keys types keys and no Enter.
func (s *Shell) Keys(keys string) {
	s.t.Helper()
	if err := s.term.Send(keys); err != nil {
		s.t.Fatal(err)
	}
}

// Type types a line and Enter, waits for the prompt and returns the output.
func (s *Shell) Type(line, prompt string) string {
	s.t.Helper()
	s.Keys(line + "\n")
	out := s.Wait(prompt)
	s.t.Logf("%s", out)
	return out
}

// Attach types a line that connects to a program which is waiting at its
// prompt, and presses Enter to see the prompt. What was on the screen before
// may or may not be shown again, so a mark tells where the new begins.
func (s *Shell) Attach(line string) {
	s.t.Helper()
	s.Keys(line + "\n")
	time.Sleep(300 * time.Millisecond)
	s.Keys("\n")
	s.Wait(ContainerPrompt)
	s.Keys("echo back-$((6*7))\n")
	s.Wait(`back-42\r*\n`)
	s.Wait(ContainerPrompt)
}

// Host types a line at the host's prompt; the exit code must be want.
func (s *Shell) Host(want int, line string) string {
	s.t.Helper()
	out := s.Type(line, HostPrompt)
	code := s.Type("echo code=$?", HostPrompt)
	if !strings.Contains(code, fmt.Sprintf("\ncode=%d\n", want)) {
		s.t.Fatalf("%s: want exit code %d, the shell says %s", line, want, code)
	}
	return out
}

// Close closes the window.
func (s *Shell) Close() {
	s.term.Hangup()
	s.term.Wait(Patience)
}

// Eventually tries f until it answers true.
func Eventually(t T, what string, f func() bool) {
	t.Helper()
	for start := time.Now(); time.Since(start) < Patience; time.Sleep(50 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("waited in vain until %s", what)
}

// Match fails the test unless text matches the pattern.
func Match(t T, text, pattern string) {
	t.Helper()
	if !regexp.MustCompile("(?m)" + pattern).MatchString(text) {
		t.Fatalf("want %q in:\n%s", pattern, text)
	}
}
