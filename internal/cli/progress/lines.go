package progress

import (
	"io"
	"sync"
)

// Lines writes one line for each step of each layer, without the bytes.
type Lines struct {
	mu   sync.Mutex
	w    io.Writer
	last map[string]string // the status last written for a layer
}

// NewLines returns a plain report to w.
func NewLines(w io.Writer) *Lines { return &Lines{w: w, last: map[string]string{}} }

// Message writes a line about the whole pull.
func (l *Lines) Message(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	io.WriteString(l.w, text+"\n")
}

// Layer writes a line when a layer has come to another step.
func (l *Lines) Layer(id, status string, current, total int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if moving(status) || l.last[id] == status {
		return
	}
	l.last[id] = status
	io.WriteString(l.w, id+": "+status+"\n")
}

// Close ends the report.
func (l *Lines) Close() {}
