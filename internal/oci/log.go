package oci

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// logger writes what those who drive a runtime read to learn why something
// failed: lines in the forms of logrus, which runc uses. Podman, CRI-O and
// containerd parse them.
type logger struct {
	w       io.Writer
	file    bool // w is not standard error: errors are told there as well
	json    bool
	debug   bool
	colour  bool // a person reads along
	started time.Time
}

// newLogger opens the log. The file is appended to, since callers share one
// between several calls.
func newLogger(path, format string, debug bool, stderr *os.File) (*logger, error) {
	l := &logger{w: stderr, debug: debug, started: time.Now()}
	switch format {
	case "", "text":
	case "json":
		l.json = true
	default:
		return l, fmt.Errorf("invalid log-format: %s", format)
	}
	if path == "" || path == "/dev/stderr" {
		_, err := unix.IoctlGetTermios(int(stderr.Fd()), unix.TCGETS)
		l.colour = err == nil
		return l, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return l, err
	}
	l.w, l.file = f, true
	return l, nil
}

func (l *logger) errorf(format string, args ...any) { l.write("error", fmt.Sprintf(format, args...)) }
func (l *logger) warningf(format string, args ...any) {
	l.write("warning", fmt.Sprintf(format, args...))
}

func (l *logger) debugf(format string, args ...any) {
	if l.debug {
		l.write("debug", fmt.Sprintf(format, args...))
	}
}

func (l *logger) write(level, msg string) {
	now := time.Now()
	switch {
	case l.json:
		line, err := json.Marshal(struct {
			Level string `json:"level"`
			Msg   string `json:"msg"`
			Time  string `json:"time"`
		}{level, msg, now.Format(time.RFC3339)})
		if err == nil {
			l.w.Write(append(line, '\n'))
		}
	case l.colour:
		number := 31
		switch level {
		case "warning":
			number = 33
		case "debug":
			number = 37
		}
		fmt.Fprintf(l.w, "\x1b[%dm%s\x1b[0m[%04d] %-44s \n", number, strings.ToUpper(level[:4]), int(now.Sub(l.started).Seconds()), msg)
	default:
		fmt.Fprintf(l.w, "time=%q level=%s msg=%s\n", now.Format(time.RFC3339), level, quoted(msg))
	}
}

// quoted puts a text in quotes where it is not a plain word.
func quoted(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._/@^+", r)
	}
	if s != "" && strings.TrimFunc(s, plain) == "" {
		return s
	}
	return fmt.Sprintf("%q", s)
}
