package engine

import (
	"fmt"
	"slices"

	"github.com/moby/moby/api/types/container"

	"berth/internal/health"
	"berth/internal/shim"
	"berth/internal/spec"
)

// health compiles the health check of a container that is about to start; nil
// for one without.
func (e *Engine) health(r *record, b *bundle, in spec.Input) (*shim.Health, []string, error) {
	h := r.Config.Healthcheck
	args, warning := probe(r.Config)
	if len(args) == 0 {
		return nil, warning, nil
	}
	prog, err := e.execProgram(r, b, in, ExecOptions{Cmd: args})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot prepare the health check: %w", err)
	}
	return &shim.Health{Program: prog, Check: health.Check{
		Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, StartInterval: h.StartInterval,
		Retries: h.Retries,
	}}, nil, nil
}

// probe is the command of a container's health check.
func probe(c *container.Config) (args, warning []string) {
	if c.Healthcheck == nil || len(c.Healthcheck.Test) == 0 {
		return nil, nil
	}
	kind, rest := c.Healthcheck.Test[0], c.Healthcheck.Test[1:]
	switch kind {
	case "NONE":
		return nil, nil
	case "CMD":
		return rest, nil
	case "CMD-SHELL":
		shell := c.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		return slices.Concat(shell, rest), nil
	}
	return nil, []string{fmt.Sprintf("the health check has no effect: its type is %q, neither CMD nor CMD-SHELL", kind)}
}

// healthOf is what `inspect` tells of the health checks; nil without any.
func healthOf(st shim.Status) *container.Health {
	if st.Health == nil {
		return nil
	}
	h := &container.Health{
		Status: container.HealthStatus(st.Health.Status), FailingStreak: st.Health.FailingStreak,
		Log: []*container.HealthcheckResult{},
	}
	for _, l := range st.Health.Log {
		h.Log = append(h.Log, &container.HealthcheckResult{Start: l.Start, End: l.End, ExitCode: l.ExitCode, Output: l.Output})
	}
	return h
}

// healthSummary is the same in a list.
func healthSummary(st shim.Status) *container.HealthSummary {
	if st.Health == nil {
		return &container.HealthSummary{Status: container.NoHealthcheck}
	}
	return &container.HealthSummary{Status: container.HealthStatus(st.Health.Status), FailingStreak: st.Health.FailingStreak}
}
