package tutorial

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"berth/test/lab"
)

func itoa(n int) string { return strconv.Itoa(n) }

// TestGuide types every command of docs/guide.md. In a block marked console a
// line that begins with "$ " is typed at the host's prompt and one that begins
// with "root@…# " or "/ # " in the container; ^P^Q, ^C and ^D are keys. Every
// other line is output that must be shown, in which … stands for anything.
func TestGuide(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		p := l.Place(t, t.TempDir())
		if err := os.MkdirAll(filepath.Join(p.Home, ".cache/huggingface/hub"), 0o755); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(guide(t))
		if err != nil {
			t.Fatal(err)
		}
		blocks := console(string(text))
		if len(blocks) < 10 {
			t.Fatalf("found only %d console blocks in the guide", len(blocks))
		}
		s := p.Shell(t)
		for _, b := range blocks {
			typeBlock(t, s, b)
		}
		if left := p.Clean(); len(left) > 0 {
			t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
		}
	})
}

// guide finds the file from the package's folder and from its copy in the lab.
func guide(t *testing.T) string {
	for _, f := range []string{"../../docs/guide.md", "../docs/guide.md"} {
		if _, err := os.Stat(f); err == nil {
			return f
		}
	}
	t.Fatal("no docs/guide.md")
	return ""
}

// console returns the blocks marked console, each as its lines.
func console(text string) [][]string {
	var blocks [][]string
	in := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "```console":
			in = true
			blocks = append(blocks, nil)
		case line == "```":
			in = false
		case in:
			blocks[len(blocks)-1] = append(blocks[len(blocks)-1], line)
		}
	}
	return blocks
}

var typed = regexp.MustCompile(`^(\$|root@[^#]*#|/ #)( (.*))?$`)

// typeBlock types the commands of one block and compares what is shown.
func typeBlock(t *testing.T, s *lab.Shell, lines []string) {
	t.Helper()
	for i := 0; i < len(lines); {
		m := typed.FindStringSubmatch(lines[i])
		if m == nil {
			t.Fatalf("the guide shows output before a command: %q", lines[i])
		}
		command := m[3]
		var want []string
		for i++; i < len(lines) && !typed.MatchString(lines[i]); i++ {
			want = append(want, lines[i])
		}
		// The next thing typed tells which prompt must appear.
		prompt := lab.HostPrompt
		if i < len(lines) && !strings.HasPrefix(lines[i], "$") {
			prompt = lab.ContainerPrompt
		}
		check(t, command, do(t, s, command, prompt), want)
	}
}

func do(t *testing.T, s *lab.Shell, command, prompt string) string {
	t.Helper()
	keys := strings.NewReplacer("^P", "\x10", "^Q", "\x11", "^C", "\x03", "^D", "\x04").Replace(command)
	if keys == command {
		if strings.Contains(command, " attach ") {
			s.Attach(command)
			return ""
		}
		return s.Type(command, prompt)
	}
	s.Keys(keys)
	return s.Wait(prompt)
}

// check looks for the wanted lines in order.
func check(t *testing.T, command, out string, want []string) {
	t.Helper()
	_, rest, _ := strings.Cut(out, "\n") // the typed line itself
	for _, w := range want {
		if strings.TrimSpace(w) == "" {
			continue
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(w)), "…", ".*")
		pattern = regexp.MustCompile(` +`).ReplaceAllString(pattern, `\s+`)
		pattern = strings.NewReplacer(`\s+.*\s+`, `.*`, `\s+.*`, `.*`, `.*\s+`, `.*`).Replace(pattern)
		at := regexp.MustCompile(pattern).FindStringIndex(rest)
		if at == nil {
			t.Fatalf("the guide promises %q after %q; shown was:\n%s", w, command, out)
		}
		rest = rest[at[1]:]
	}
}
