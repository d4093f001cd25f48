package engine

import (
	"context"
	"errors"
	"time"

	"berth/internal/logs"
	"berth/internal/logs/logopt"
)

// ContainerLogs writes a container's output, and with Follow goes on until the
// container ends.
func (e *Engine) ContainerLogs(ctx context.Context, ref string, opt LogsOptions) error {
	id, err := e.find(ref)
	if err != nil {
		return err
	}
	r, _, err := e.load(id)
	if err != nil {
		return err
	}
	o, err := logopt.Check(r.HostConfig.LogConfig.Type, r.HostConfig.LogConfig.Config)
	if err != nil {
		return &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	l, err := logs.OpenReader(e.containerDir(id), o, logs.Query{
		Tail: opt.Tail, Since: opt.Since, Until: opt.Until, Timestamps: opt.Timestamps,
		Details: opt.Details, Stdout: opt.Stdout, Stderr: opt.Stderr,
	})
	if errors.Is(err, logs.ErrNotReadable) {
		return &Error{Kind: ErrNotSupported, Text: err.Error()}
	}
	if err != nil {
		return err
	}
	defer l.Close()
	if err := l.Past(); err != nil || !opt.Follow {
		return err
	}
	for {
		// The status is read before the rest of the file: what a stopped
		// container has written is all there then.
		st, err := e.status(id)
		if err != nil {
			return err
		}
		if err := l.More(); err != nil || l.Done() {
			return err
		}
		if !active(st) || !e.containerExists(id) {
			return l.More()
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// logPath is where other programs find the log: only Docker's own format has
// one.
func (e *Engine) logPath(r *record) string {
	o, err := logopt.Check(r.HostConfig.LogConfig.Type, r.HostConfig.LogConfig.Config)
	if err != nil || o.File() == "" {
		return ""
	}
	return e.containerDir(r.ID, o.File())
}

// pause waits a little: a log is looked at twenty times a second.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}
