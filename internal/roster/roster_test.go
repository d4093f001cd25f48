package roster

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"berth/internal/errdef"
	"berth/internal/health"
	"berth/internal/shim"
	"berth/internal/state"
)

func TestStatusText(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		st   shim.Status
		want string
	}{
		{shim.Status{Phase: shim.Created}, "Created"},
		{shim.Status{Phase: shim.Running, StartedAt: now.Add(-2 * time.Minute)}, "Up 2 minutes"},
		{shim.Status{Phase: shim.Running, StartedAt: now.Add(-2 * time.Hour), Health: &health.Status{Status: health.Starting}}, "Up 2 hours (health: starting)"},
		{shim.Status{Phase: shim.Running, StartedAt: now.Add(-2 * time.Hour), Health: &health.Status{Status: health.Unhealthy}}, "Up 2 hours (unhealthy)"},
		{shim.Status{Phase: shim.Paused, StartedAt: now.Add(-2 * time.Minute)}, "Up 2 minutes (Paused)"},
		{shim.Status{Phase: shim.Restarting, ExitCode: 3, FinishedAt: now.Add(-2 * time.Minute)}, "Restarting (3) 2 minutes ago"},
		{shim.Status{Phase: shim.Exited, ExitCode: 137, FinishedAt: now.Add(-3 * time.Minute)}, "Exited (137) 3 minutes ago"},
	} {
		if got := StatusText(c.st); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestCommandText(t *testing.T) {
	if got := CommandText([]string{"sh", "-c", "echo a b"}); got != "sh -c 'echo a b'" {
		t.Errorf("%q", got)
	}
}

// TestStatusOfDeadShim: what is written counts only while the shim lives, and
// what a container was that ended well is as written.
func TestStatusOfDeadShim(t *testing.T) {
	dir, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := Open(dir, nil)
	id := NewID()
	if _, err := s.Status(id); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("no container: %v", err)
	}
	if err := os.MkdirAll(s.Path(id), 0o700); err != nil {
		t.Fatal(err)
	}
	r := &Record{V: 1, ID: id, Name: "x", Config: &container.Config{}, HostConfig: &container.HostConfig{}}
	if err := s.Write(s.Path(id), r); err != nil {
		t.Fatal(err)
	}
	if st, err := s.Status(id); err != nil || st.Phase != shim.Created {
		t.Errorf("made: %+v, %v", st, err)
	}
	write := func(st shim.Status) {
		if err := state.WriteJSON(s.Path(id, shim.StatusFile), &st); err != nil {
			t.Fatal(err)
		}
	}
	write(shim.Status{V: 1, Phase: shim.Running, Shim: state.Self()})
	if st, err := s.Status(id); err != nil || st.Phase != shim.Running {
		t.Errorf("with a shim: %+v, %v", st, err)
	}
	for _, phase := range []string{shim.Running, shim.Paused, shim.Restarting} {
		write(shim.Status{V: 1, Phase: phase, Shim: state.Owner{Pid: os.Getpid(), Start: 1}})
		if st, err := s.Status(id); err != nil || st.Phase != shim.Exited || st.ExitCode != 137 || st.FinishedAt.IsZero() {
			t.Errorf("%s without its shim: %+v, %v", phase, st, err)
		}
	}
	write(shim.Status{V: 1, Phase: shim.Exited, ExitCode: 5})
	if st, err := s.Status(id); err != nil || st.ExitCode != 5 {
		t.Errorf("ended: %+v, %v", st, err)
	}
	for _, text := range []string{id, id[:12], id[:1]} {
		if got, err := s.Find(text); err != nil || got != id {
			t.Errorf("find %s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x/y", "zz", strings.Repeat("0", 65)} {
		if _, err := s.Find(text); err == nil {
			t.Errorf("%q is found", text)
		}
	}
}
