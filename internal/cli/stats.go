package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"berth/internal/cli/format"
	"berth/internal/cli/rows"
	"berth/internal/cli/term"
	"berth/internal/engine"
)

// statsCommand is stats.
func (a *app) statsCommand() *cobra.Command {
	c := &cobra.Command{Use: "stats [OPTIONS] [CONTAINER...]"}
	f := c.Flags()
	s := &statsTable{app: a, last: map[string]container.StatsResponse{}}
	f.BoolVarP(&s.all, "all", "a", false, "Show all containers (default shows just running)")
	layout := formatFlag(f)
	noStream := f.Bool("no-stream", false, "Disable streaming stats and only pull the first result")
	noTrunc := f.Bool("no-trunc", false, "Do not truncate output")
	c.RunE = func(c *cobra.Command, args []string) error {
		var err error
		if s.engine, err = a.open(); err != nil {
			return err
		}
		s.names, s.noTrunc = args, *noTrunc
		s.format = *layout
		if s.format == "" {
			s.format = a.clientConfig().StatsFormat
		}
		return s.run(c.Context(), *noStream)
	}
	return c
}

// How long processor time is measured for the first table, and between two.
const (
	firstInterval = 500 * time.Millisecond
	statsInterval = time.Second
)

// statsTable prints what containers use, again and again.
type statsTable struct {
	app          *app
	engine       *engine.Engine
	names        []string // empty: all that run
	all, noTrunc bool
	format       string
	last         map[string]container.StatsResponse // by ID, the measurement before
}

func (s *statsTable) run(ctx context.Context, once bool) error {
	if _, err := s.measure(ctx); err != nil {
		return err
	}
	interval := firstInterval
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(interval):
		}
		interval = statsInterval
		lines, err := s.measure(ctx)
		if err != nil {
			return err
		}
		if err := s.print(lines, !once && term.IsTerminal(s.app.env.Stdout)); err != nil || once {
			return err
		}
	}
}

// measure looks at every container once.
func (s *statsTable) measure(ctx context.Context) ([]rows.Stats, error) {
	names := s.names
	if len(names) == 0 {
		list, err := s.engine.ContainerList(ctx, engine.ListOptions{All: s.all})
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			names = append(names, c.ID)
		}
	}
	now := map[string]container.StatsResponse{}
	var lines []rows.Stats
	for _, n := range names {
		m, err := s.engine.ContainerStats(ctx, n)
		if errors.Is(err, engine.ErrNotFound) && len(s.names) == 0 {
			continue // it has gone meanwhile
		}
		if err != nil {
			return nil, err
		}
		if before, ok := s.last[m.ID]; ok {
			m.PreRead, m.PreCPUStats = before.Read, before.CPUStats
		}
		now[m.ID] = m
		lines = append(lines, rows.NewStats(n, m, !s.noTrunc))
	}
	s.last = now
	return lines, nil
}

// print writes the table, on a terminal in the place of the one before.
func (s *statsTable) print(lines []rows.Stats, over bool) error {
	var b bytes.Buffer
	err := format.Rows(&b, lines, format.Options{
		Format: s.format, Columns: rows.StatsColumns(),
	})
	if err != nil {
		return templateFailure(err)
	}
	text := b.String()
	if over {
		// To the top; what is right of and below the new text goes.
		text = "\x1b[H" + strings.ReplaceAll(text, "\n", "\x1b[K\n") + "\x1b[J"
	}
	_, err = io.WriteString(s.app.env.Stdout, text)
	return err
}
