package engine

import (
	"context"
	"sort"
	"strings"
	"time"

	"berth/internal/shim"
)

// ContainerLogs writes a container's output, and with Follow goes on until the
// container ends.
func (e *Engine) ContainerLogs(ctx context.Context, ref string, opt LogsOptions) error {
	id, err := e.find(ref)
	if err != nil {
		return err
	}
	r, st, err := e.load(id)
	if err != nil {
		return err
	}
	if r.HostConfig.LogConfig.Type == "none" {
		return &Error{Kind: ErrNotSupported, Text: "configured logging driver does not support reading"}
	}
	prefix := ""
	if opt.Details {
		prefix = details(r)
	}
	l, err := shim.OpenLog(e.containerDir(id, shim.LogFile), shim.LogQuery{
		Tail: opt.Tail, Since: opt.Since, Until: opt.Until, Timestamps: opt.Timestamps,
		Prefix: prefix, Stdout: opt.Stdout, Stderr: opt.Stderr,
	})
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
		if st, err = e.status(id); err != nil {
			return err
		}
		if err := l.More(); err != nil {
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

// details is what --details puts before each line: the labels and variables
// that --log-opt names.
func details(r *record) string {
	var kv []string
	c := r.HostConfig.LogConfig.Config
	for _, k := range strings.Split(c["labels"], ",") {
		if v, ok := r.Config.Labels[k]; ok {
			kv = append(kv, k+"="+v)
		}
	}
	for _, k := range strings.Split(c["env"], ",") {
		for _, e := range r.Config.Env {
			if name, v, _ := strings.Cut(e, "="); k != "" && name == k {
				kv = append(kv, k+"="+v)
			}
		}
	}
	sort.Strings(kv)
	return strings.Join(kv, ",") + " "
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
