package logind

import (
	"errors"
	"fmt"
	"strings"

	"berth/internal/cgroup"
	"berth/internal/systemd"
)

// Request describes a container that is about to start.
type Request struct {
	ID     string
	Parent string // Docker's --cgroup-parent
	Limits cgroup.Limits
	Refuse bool // a limit that cannot be had is an error, not a warning
	Shim   int  // the process that will look after it
}

// Place makes the control group of a container where it can have its limits,
// and moves the shim to where it outlives the session if it would not in this
// one. It returns the group, the session the shim is in from here on, and
// warnings about limits that cannot be had.
func Place(r Request) (*cgroup.Group, Session, []string, error) {
	facts, err := cgroup.Detect()
	if err != nil {
		return nil, Session{}, nil, err
	}
	facts.Refuse = r.Refuse
	s := Detect()
	needsGroup := facts.UID != 0 && facts.Mode == cgroup.V2 && !facts.Delegated() && (len(r.Limits.Controllers()) > 0 || r.Parent != "")
	if !needsGroup && (s.User || !s.Kills) {
		g, warnings, err := cgroup.Prepare(r.ID, r.Parent, r.Limits, facts)
		return g, s, warnings, err
	}
	scope, err := systemd.Enclose(slice(r.Parent), fmt.Sprintf("berth-%.12s-%d", r.ID, r.Shim), r.Shim)
	if err != nil {
		facts.NoScope = s.noScope(err)
	} else {
		s.User, s.Login, s.Kills = true, false, false
	}
	if err != nil || facts.Mode != cgroup.V2 {
		g, warnings, err := cgroup.Prepare(r.ID, r.Parent, r.Limits, facts)
		return g, s, warnings, err
	}
	g, warnings, err := cgroup.PrepareIn(scope, r.Shim, r.Limits, facts)
	if err == nil && r.Parent != "" && slice(r.Parent) == "" {
		const why = "the groups of this account are made by its systemd, which knows parents by names such as work.slice only"
		if r.Refuse {
			return nil, s, nil, errors.New("--cgroup-parent cannot be had: " + why)
		}
		warnings = append(warnings, "--cgroup-parent has no effect: "+why)
	}
	return g, s, warnings, err
}

// slice is a --cgroup-parent that is the name of a slice of systemd's.
func slice(parent string) string {
	if !strings.HasSuffix(parent, ".slice") || strings.Contains(parent, "/") {
		return ""
	}
	return parent
}

// noScope says why an account has no control groups, and how to get them.
func (s Session) noScope(err error) string {
	name := s.Name
	if name == "" {
		name = "NAME"
	}
	return fmt.Sprintf("this account has no delegated cgroup here, and no systemd of its own to ask for one (%v); it has one in a session of its own (ssh, machinectl shell), or for good once an administrator has said: loginctl enable-linger %s", err, name)
}

// WhyNot is [cgroup.Facts.WhyNot] for containers that [Place] has a place for.
func WhyNot(f cgroup.Facts, controller string) string {
	why := f.WhyNot(controller)
	if why == "" || f.UID == 0 || f.Mode != cgroup.V2 || f.Delegated() || !systemd.Reachable() {
		return why
	}
	return f.WhyNotBelow(fmt.Sprintf("/user.slice/user-%d.slice/user@%[1]d.service", f.UID), controller)
}
