package doctor

import (
	"fmt"
	"io"
	"strings"
)

// Status is how bad a finding is.
type Status string

// The statuses. With a Failure containers cannot run, or not as they should;
// with a Warning something that somebody may ask for cannot be had.
const (
	OK      Status = "ok"
	Warning Status = "warn"
	Failure Status = "fail"
)

// Finding is what one check has to say, one line.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	What   string `json:"what"`            // what is
	Means  string `json:"means,omitempty"` // what follows from it
	Fix    string `json:"fix,omitempty"`   // what to do: mostly a command

	// Fixable says that [Report.Repair] does what Fix says.
	Fixable bool `json:"fixable"`
	repair  func() (did string, err error)
}

// Report is all that was found.
type Report struct {
	Findings []Finding `json:"findings"`
	// Letter is a text to send to the machine's administrator, empty where
	// nobody has to be asked.
	Letter string `json:"letter,omitempty"`
}

func fine(format string, args ...any) Finding {
	return Finding{Status: OK, What: fmt.Sprintf(format, args...)}
}

func warning(what, means, fix string) Finding {
	return Finding{Status: Warning, What: what, Means: means, Fix: fix}
}

func failure(what, means, fix string) Finding {
	return Finding{Status: Failure, What: what, Means: means, Fix: fix}
}

// by lets [Report.Repair] do what the finding's Fix says.
func (f Finding) by(repair func() (did string, err error)) Finding {
	f.Fixable, f.repair = true, repair
	return f
}

// Worst is the worst status of all.
func (r Report) Worst() Status {
	worst := OK
	for _, f := range r.Findings {
		if f.Status == Failure || worst == OK {
			worst = f.Status
		}
	}
	return worst
}

// Line is the finding as people read it.
func (f Finding) Line() string {
	s := fmt.Sprintf("%-4s  %-15s  %s", f.Status, f.Check, f.What)
	if f.Means != "" {
		s += ": " + f.Means
	}
	if f.Fix != "" {
		s += ". Fix: " + f.Fix
	}
	return strings.NewReplacer("\n", " ", "\r", " ", "\x1b", "").Replace(s)
}

// Repair does what the fixable findings say, tells of each thing what was done,
// and reports whether all went well.
func (r Report) Repair(out io.Writer) bool {
	well, any := true, false
	for _, f := range r.Findings {
		if f.repair == nil {
			continue
		}
		any = true
		did, err := f.repair()
		if err != nil {
			well = false
			fmt.Fprintf(out, "not fixed  %-15s  %v\n", f.Check, err)
			continue
		}
		fmt.Fprintf(out, "fixed      %-15s  %s\n", f.Check, did)
	}
	if !any {
		fmt.Fprintln(out, "Nothing that this account may fix.")
	}
	return well
}
