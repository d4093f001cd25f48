package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"berth/internal/cli/format"
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
		rows, err := s.measure(ctx)
		if err != nil {
			return err
		}
		if err := s.print(rows, !once && term.IsTerminal(s.app.env.Stdout)); err != nil || once {
			return err
		}
	}
}

// measure looks at every container once.
func (s *statsTable) measure(ctx context.Context) ([]statsRow, error) {
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
	var rows []statsRow
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
		rows = append(rows, newStatsRow(n, m, !s.noTrunc))
	}
	s.last = now
	return rows, nil
}

// print writes the table, on a terminal in the place of the one before.
func (s *statsTable) print(rows []statsRow, over bool) error {
	var b bytes.Buffer
	err := format.Rows(&b, rows, format.Options{
		Format: s.format, Columns: []string{"ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"},
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

// statsRow is a container in the table. The fields stand in the order of their
// names, as in Docker's JSON.
type statsRow struct {
	BlockIO   string `header:"BLOCK I/O"`
	CPUPerc   string `header:"CPU %"`
	Container string
	ID        string `header:"CONTAINER ID"`
	MemPerc   string `header:"MEM %"`
	MemUsage  string `header:"MEM USAGE / LIMIT"`
	Name      string
	NetIO     string `header:"NET I/O"`
	PIDs      string
}

func newStatsRow(given string, m container.StatsResponse, trunc bool) statsRow {
	used, share := memoryUse(m.MemoryStats)
	read, written := blockUse(m.BlkioStats)
	var received, sent uint64
	for _, n := range m.Networks {
		received += n.RxBytes
		sent += n.TxBytes
	}
	r := statsRow{
		Container: given, ID: m.ID, Name: strings.TrimPrefix(m.Name, "/"),
		CPUPerc:  fmt.Sprintf("%.2f%%", processorShare(m)),
		MemUsage: units.BytesSize(used) + " / " + units.BytesSize(float64(m.MemoryStats.Limit)),
		MemPerc:  fmt.Sprintf("%.2f%%", share),
		NetIO:    format.Size(int64(received)) + " / " + format.Size(int64(sent)),
		BlockIO:  format.Size(int64(read)) + " / " + format.Size(int64(written)),
		PIDs:     fmt.Sprint(m.PidsStats.Current),
	}
	if trunc {
		r.ID = format.ShortID(m.ID)
	}
	return r
}

// processorShare is the time that a container had of what one processor had, in
// percent: 200 is two whole processors.
func processorShare(m container.StatsResponse) float64 {
	own := float64(m.CPUStats.CPUUsage.TotalUsage) - float64(m.PreCPUStats.CPUUsage.TotalUsage)
	machine := float64(m.CPUStats.SystemUsage) - float64(m.PreCPUStats.SystemUsage)
	if m.PreRead.IsZero() || own <= 0 || machine <= 0 {
		return 0
	}
	return own / machine * float64(m.CPUStats.OnlineCPUs) * 100
}

// memoryUse leaves out file contents that the kernel would drop first, as
// Docker's does, and tells the share of the limit in percent.
func memoryUse(m container.MemoryStats) (used, share float64) {
	used = float64(m.Usage)
	cold, ok := m.Stats["total_inactive_file"] // version 1 of control groups
	if !ok {
		cold = m.Stats["inactive_file"]
	}
	if cold < m.Usage {
		used -= float64(cold)
	}
	if m.Limit > 0 {
		share = used / float64(m.Limit) * 100
	}
	return used, share
}

func blockUse(b container.BlkioStats) (read, written uint64) {
	for _, e := range b.IoServiceBytesRecursive {
		switch e.Op {
		case "read":
			read += e.Value
		case "write":
			written += e.Value
		}
	}
	return read, written
}
