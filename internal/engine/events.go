package engine

import (
	"context"
	"maps"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/events"

	"berth/internal/filter"
	"berth/internal/journal"
	"berth/internal/shim"
)

// EventOptions chooses events. Since is zero for those from now on, Until for
// no end.
type EventOptions struct {
	Since, Until time.Time
	Filters      map[string][]string // container, event, image, label, network, scope, type, volume
}

// note writes into the journal what has just been done. That it cannot be
// written is no reason to say that it was not done.
func (e *Engine) note(typ events.Type, action events.Action, id string, attributes map[string]string) {
	_ = journal.Open(e.dir).Append(journal.Event{Type: string(typ), Action: string(action), ID: id, Attributes: attributes})
}

// noteContainer writes what was done to a container; more are attributes
// beside those that each event of a container has, in pairs.
func (e *Engine) noteContainer(r *record, action events.Action, more ...string) {
	e.note(events.ContainerEventType, action, r.ID, eventAttributes(r, more...))
}

// noteKilled tells of the end that a killed shim could not tell of.
func (e *Engine) noteKilled(id string, stored, st shim.Status) {
	r, _, err := e.load(id)
	if err != nil || !lives(stored) || active(st) {
		return
	}
	ran := max(0, int(st.FinishedAt.Sub(stored.StartedAt).Seconds()))
	e.noteContainer(r, events.ActionDie, "exitCode", strconv.Itoa(st.ExitCode), "execDuration", strconv.Itoa(ran))
}

// eventAttributes are those of a container's events: its image, its name, its
// labels, and some of this event alone.
func eventAttributes(r *record, more ...string) map[string]string {
	a := maps.Clone(r.Config.Labels)
	if a == nil {
		a = map[string]string{}
	}
	a["image"], a["name"] = r.Image, r.Name
	for i := 0; i+1 < len(more); i += 2 {
		a[more[i]] = more[i+1]
	}
	return a
}

// notePrune writes that unused things were removed, and how many bytes they had.
func (e *Engine) notePrune(typ events.Type, freed uint64) {
	e.note(typ, events.ActionPrune, "", map[string]string{"reclaimed": strconv.FormatUint(freed, 10)})
}

// Events hands on what happens until the time opt.Until or the end of the
// context, after what has happened since opt.Since.
func (e *Engine) Events(ctx context.Context, opt EventOptions, each func(events.Message) error) error {
	match, err := filter.Events(opt.Filters)
	if err != nil {
		return &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	q := journal.Query{Since: opt.Since, Until: opt.Until, Follow: true}
	if q.Since.IsZero() {
		q.Since = time.Now()
	}
	return journal.Open(e.dir).Read(ctx, q, func(ev journal.Event) error {
		if !match(ev.Type, ev.Action, ev.ID, ev.Attributes) {
			return nil
		}
		m := events.Message{
			Type: events.Type(ev.Type), Action: events.Action(ev.Action), Actor: events.Actor{ID: ev.ID, Attributes: ev.Attributes},
			Scope: "local", Time: ev.Time.Unix(), TimeNano: ev.Time.UnixNano(),
		}
		if m.Actor.Attributes == nil {
			m.Actor.Attributes = map[string]string{}
		}
		return each(m)
	})
}
