package shim

import (
	"os"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"berth/internal/logs"
)

// logger writes Docker's json-file format: one object a line of output, with
// stream and time. A partial line waits for its end, up to 16 KiB.
type logger struct {
	mu      sync.Mutex
	f       *os.File
	path    string
	opt     logs.Options
	size    int64
	partial [2][]byte
	line    []byte
}

const maxLine = 16 << 10

func openLog(path string, opt logs.Options) (*logger, error) {
	if opt.Driver == logs.None {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	l := &logger{f: f, path: path, opt: opt}
	if st, err := f.Stat(); err == nil {
		l.size = st.Size()
	}
	return l, nil
}

// write takes output of one stream. A nil logger takes nothing.
func (l *logger) write(kind byte, p []byte) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	part := &l.partial[0]
	if kind == frameStderr {
		part = &l.partial[1]
	}
	now := time.Now()
	l.line = l.line[:0]
	for len(p) > 0 {
		n := lineEnd(p, maxLine-len(*part))
		if p[n-1] != '\n' && len(*part)+n < maxLine {
			*part = append(*part, p[:n]...)
			break
		}
		l.line = appendEntry(l.line, kind, *part, p[:n], now)
		*part = (*part)[:0]
		p = p[n:]
	}
	l.flush()
}

// lineEnd returns the length of the first line of p with its newline, at most
// limit.
func lineEnd(p []byte, limit int) int {
	for i, c := range p {
		if c == '\n' || i+1 == limit {
			return i + 1
		}
	}
	return len(p)
}

// close ends the log.
func (l *logger) close() {
	if l != nil {
		l.end()
		l.f.Close()
	}
}

// end writes what is left of partial lines: the program will not complete them.
func (l *logger) end() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = l.line[:0]
	for i, part := range l.partial {
		if len(part) > 0 {
			l.line = appendEntry(l.line, []byte{frameStdout, frameStderr}[i], part, nil, time.Now())
			l.partial[i] = nil
		}
	}
	l.flush()
}

func (l *logger) flush() {
	if len(l.line) == 0 {
		return
	}
	if l.opt.MaxSize > 0 && l.size > 0 && l.size+int64(len(l.line)) > l.opt.MaxSize {
		l.rotate()
	}
	n, _ := l.f.Write(l.line) // a full disk must not stop the container
	l.size += int64(n)
}

// rotate moves log.json to log.json.1 and so on, keeping MaxFiles in all.
func (l *logger) rotate() {
	files := max(l.opt.MaxFiles, 1)
	for i := files - 1; i > 0; i-- {
		from := l.path
		if i > 1 {
			from += "." + strconv.Itoa(i-1)
		}
		os.Rename(from, l.path+"."+strconv.Itoa(i))
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return
	}
	l.f.Close()
	l.f, l.size = f, 0
}

func appendEntry(b []byte, kind byte, first, rest []byte, at time.Time) []byte {
	b = append(b, `{"log":"`...)
	b = appendText(b, first)
	b = appendText(b, rest)
	if kind == frameStderr {
		b = append(b, `","stream":"stderr","time":"`...)
	} else {
		b = append(b, `","stream":"stdout","time":"`...)
	}
	b = at.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, "\"}\n"...)
}

// appendText escapes p for a JSON string; bytes that are not UTF-8 become
// U+FFFD, as Docker does.
func appendText(b, p []byte) []byte {
	const hex = "0123456789abcdef"
	for len(p) > 0 {
		c := p[0]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c == '\n':
				b = append(b, '\\', 'n')
			case c == '\r':
				b = append(b, '\\', 'r')
			case c == '\t':
				b = append(b, '\\', 't')
			case c < 0x20 || c == 0x7f:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				b = append(b, c)
			}
			p = p[1:]
			continue
		}
		r, n := utf8.DecodeRune(p)
		b = utf8.AppendRune(b, r)
		p = p[n:]
	}
	return b
}
