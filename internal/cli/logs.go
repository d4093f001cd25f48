package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"berth/internal/cli/opts"
	"berth/internal/engine"
)

// logsCommand is logs.
func (a *app) logsCommand() *cobra.Command {
	c := &cobra.Command{Use: "logs [OPTIONS] CONTAINER", Args: exactly(1)}
	f := c.Flags()
	details := f.Bool("details", false, "Show extra details provided to logs")
	follow := f.BoolP("follow", "f", false, "Follow log output")
	since := f.String("since", "", `Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	tail := f.StringP("tail", "n", "all", "Number of lines to show from the end of the logs")
	timestamps := f.BoolP("timestamps", "t", false, "Show timestamps")
	until := f.String("until", "", `Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	c.RunE = func(c *cobra.Command, args []string) error {
		opt := engine.LogsOptions{
			Follow: *follow, Timestamps: *timestamps, Details: *details,
			Stdout: a.env.Stdout, Stderr: a.env.Stderr,
		}
		var err error
		now := time.Now()
		if opt.Since, err = opts.Time(*since, now); err != nil {
			return fmt.Errorf("invalid value for \"since\": %w", err)
		}
		if opt.Until, err = opts.Time(*until, now); err != nil {
			return fmt.Errorf("invalid value for \"until\": %w", err)
		}
		if opt.Tail, err = tailLines(*tail); err != nil {
			return err
		}
		e, err := a.open()
		if err != nil {
			return err
		}
		return e.ContainerLogs(c.Context(), args[0], opt)
	}
	return c
}

// tailLines reads a number of lines; negative means all.
func tailLines(s string) (int, error) {
	if s == "all" || s == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("invalid value for \"tail\": %q is neither a number of lines nor \"all\"", s)
	}
	return n, nil
}
