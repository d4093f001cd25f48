package progress

import (
	"strings"
	"time"

	"github.com/docker/go-units"
)

// layer is a layer as it is shown.
type layer struct {
	id, status     string
	current, total int64
	speed          meter
}

// set notes where a layer is. Bytes that were there when it began to move came
// with an earlier try and say nothing of the rate.
func (l *layer) set(now time.Time, status string, current, total int64) {
	if status != l.status {
		l.speed = meter{}
	}
	l.status, l.current, l.total = status, current, total
	if moving(status) {
		l.speed.note(now, current)
	}
}

// moving says that a status comes again and again with other numbers.
func moving(status string) bool {
	switch status {
	case "Downloading", "Extracting", "Verifying", "Pushing", "Loading layer":
		return true
	}
	return false
}

// done says that nothing more happens to the layer.
func (l *layer) done() bool {
	switch l.status {
	case "Pull complete", "Already exists", "Load complete", "Pushed", "Layer already exists":
		return true
	}
	return strings.HasPrefix(l.status, "Mounted from")
}

// size writes a number of bytes.
func size(n int64) string { return units.HumanSizeWithPrecision(float64(n), 4) }

// pace writes a rate and the time left, each with the space before it; nothing
// when there is nothing to tell.
func pace(rest int64, rate float64) string {
	if rate <= 0 {
		return ""
	}
	text := "  " + units.HumanSizeWithPrecision(rate, 3) + "/s"
	if t := left(rest, rate); t != "" && rest > 0 {
		text += "  " + t
	}
	return text
}

// line is the layer in less than width characters:
// "0123456789ab: Downloading [=====>    ]  1.2MB/3.4MB  2MB/s  1s". What has
// no room is left out: the bar grows narrow and goes first, then the rate.
func (l *layer) line(now time.Time, width int) string {
	head := l.id + ": " + l.status
	if !moving(l.status) {
		return cut(head, width)
	}
	switch {
	case l.total > 0:
		current := min(l.current, l.total)
		numbers := size(current) + "/" + size(l.total)
		return gauge(head, numbers, pace(l.total-current, l.speed.rate(now)), float64(current)/float64(l.total), width)
	case l.current > 0:
		return gauge(head, size(l.current), pace(0, l.speed.rate(now)), -1, width)
	}
	return cut(head, width)
}

// gauge writes a line with a bar for a share, which is negative for none.
func gauge(head, numbers, pace string, share float64, width int) string {
	// One column stays free: a terminal wraps a full line.
	room := width - 1 - len(head) - len(" ") - len(numbers)
	if room < len(pace) {
		pace = ""
	}
	// The pace comes and goes; the bar keeps its width.
	if space := min(50, room-len("  2.34GB/s  1h00m")-len("[]  ")); share >= 0 && space >= 10 {
		numbers = bar(space, share) + "  " + numbers
	}
	return cut(head+" "+numbers+pace, width)
}

func cut(text string, width int) string { return text[:max(0, min(len(text), width-1))] }

func bar(room int, share float64) string {
	full := min(room, int(share*float64(room)))
	head := ""
	if full < room {
		head = ">"
	}
	return "[" + strings.Repeat("=", full) + head + strings.Repeat(" ", room-full-len(head)) + "]"
}
