package progress

import (
	"encoding/json"
	"io"
	"strings"
	"sync"
)

// JSON writes one object a line, in the form of the stream that Docker's API
// answers a pull with.
type JSON struct {
	mu  sync.Mutex
	enc *json.Encoder
}

// message is one such object.
type message struct {
	Status string  `json:"status,omitempty"`
	ID     string  `json:"id,omitempty"`
	Detail *detail `json:"progressDetail,omitempty"`
	Error  string  `json:"error,omitempty"`
	Cause  *cause  `json:"errorDetail,omitempty"`
}

type detail struct {
	Current int64 `json:"current,omitempty"`
	Total   int64 `json:"total,omitempty"`
}

type cause struct {
	Message string `json:"message"`
}

// NewJSON returns a report to w for programs.
func NewJSON(w io.Writer) *JSON {
	j := &JSON{enc: json.NewEncoder(w)}
	j.enc.SetEscapeHTML(false)
	return j
}

func (j *JSON) write(m message) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.enc.Encode(m) // a reader that is gone is noticed at the end
}

// Message writes a line about the whole pull. What Docker says of one thing is
// said of it: "latest: Pulling from library/busybox".
func (j *JSON) Message(text string) {
	if id, status, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(status, "Pulling from ") {
		j.write(message{ID: id, Status: status})
		return
	}
	j.write(message{Status: text})
}

// Layer writes where a layer is.
func (j *JSON) Layer(id, status string, current, total int64) {
	j.write(message{ID: id, Status: status, Detail: &detail{current, total}})
}

// Fail writes why there is no more.
func (j *JSON) Fail(err error) {
	j.write(message{Error: err.Error(), Cause: &cause{err.Error()}})
}

// Close ends the report.
func (j *JSON) Close() {}
