package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/spf13/cobra"

	"berth/internal/cli/format"
	"berth/internal/cli/opts"
	"berth/internal/engine"
)

// eventsCommand is events.
func (a *app) eventsCommand() *cobra.Command {
	c := &cobra.Command{Use: "events [OPTIONS]", Args: noArgs}
	f := c.Flags()
	var filters opts.Filters
	f.VarP(&filters, "filter", "f", "Filter output based on conditions provided")
	layout := f.String("format", "", `Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates`)
	since := f.String("since", "", "Show all events created since timestamp")
	until := f.String("until", "", "Stream events until this timestamp")
	c.RunE = func(c *cobra.Command, args []string) error {
		opt := engine.EventOptions{Filters: filters}
		var err error
		now := time.Now()
		if opt.Since, err = opts.Time(*since, now); err != nil {
			return fmt.Errorf("invalid value for \"since\": %w", err)
		}
		if opt.Until, err = opts.Time(*until, now); err != nil {
			return fmt.Errorf("invalid value for \"until\": %w", err)
		}
		print := eventLine
		if *layout != "" {
			line, err := format.Line[events.Message](*layout)
			if err != nil {
				return templateFailure(err)
			}
			print = line
		}
		e, err := a.open()
		if err != nil {
			return err
		}
		return e.Events(c.Context(), opt, func(m events.Message) error { return print(a.env.Stdout, m) })
	}
	return c
}

// eventTime is how times of events are written: with all digits, so that lines
// stand below each other.
const eventTime = "2006-01-02T15:04:05.000000000Z07:00"

// eventLine prints an event for people.
func eventLine(w io.Writer, m events.Message) error {
	line := fmt.Sprintf("%s %s %s %s", time.Unix(0, m.TimeNano).Format(eventTime), m.Type, m.Action, m.Actor.ID)
	var attributes []string
	for _, k := range slices.Sorted(maps.Keys(m.Actor.Attributes)) {
		attributes = append(attributes, k+"="+m.Actor.Attributes[k])
	}
	if len(attributes) > 0 {
		line += " (" + strings.Join(attributes, ", ") + ")"
	}
	_, err := io.WriteString(w, line+"\n")
	return err
}
