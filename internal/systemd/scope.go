package systemd

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	"berth/internal/cgroup"
)

// Scope is a unit of systemd's with the control group that it is.
type Scope struct {
	Unit  string // its name, "berth-0123.scope"
	Group *cgroup.Group
	hold  *holder
}

// Prepare has systemd make the scope PREFIX-NAME below a slice, and writes the
// limits into its groups. The caller calls Release when the container's first
// process is in there. The warnings, and errors with [cgroup.Facts.Strict], are
// those of [cgroup.PrepareAt].
func Prepare(slice, prefix, name string, l cgroup.Limits, f cgroup.Facts) (*Scope, []string, error) {
	return prepare(sockets(), slice, prefix, name, l, f)
}

func prepare(sockets []string, slice, prefix, name string, l cgroup.Limits, f cgroup.Facts) (*Scope, []string, error) {
	unit, slice, err := names(slice, prefix, name)
	if err != nil {
		return nil, nil, err
	}
	b, err := connect(sockets)
	if err != nil {
		return nil, nil, err
	}
	defer b.close()
	s := &Scope{Unit: unit}
	if s.hold, err = hold(); err != nil {
		return nil, nil, fmt.Errorf("cannot hold the scope %s: %w", unit, err)
	}
	properties := append([]property{
		{"Description", "berth container " + name},
		{"Slice", slice},
		{"Delegate", true},
		{"DefaultDependencies", false},
		{"CollectMode", "inactive-or-failed"}, // nothing of it stays
		{"PIDs", []uint32{uint32(s.hold.pid)}},
	}, limits(l, f.Mode == cgroup.V2)...)
	if err := b.start(unit, properties); err != nil {
		s.Release()
		return nil, nil, fmt.Errorf("cannot start the scope %s: %w", unit, err)
	}
	place, err := groupOf(s.hold.pid)
	if err != nil {
		s.Release()
		return nil, nil, err
	}
	var warnings []string
	if s.Group, warnings, err = cgroup.Adopt(place, l, f); err != nil {
		s.Release()
		return nil, nil, err
	}
	return s, warnings, nil
}

// Release ends what has held the scope for the container.
func (s *Scope) Release() { s.hold.release() }

// Update tells systemd of new limits, or it would undo them when it is
// reloaded. They are in force only when [cgroup.Group.Update] has written them.
func Update(unit string, l cgroup.Limits, f cgroup.Facts) error {
	return update(sockets(), unit, l, f)
}

func update(sockets []string, unit string, l cgroup.Limits, f cgroup.Facts) error {
	list := limits(l, f.Mode == cgroup.V2)
	if len(list) == 0 {
		return nil
	}
	b, err := connect(sockets)
	if err != nil {
		return err
	}
	defer b.close()
	_, err = b.manager("SetUnitProperties", "sba(sv)", func(w *writer) {
		w.str(unit)
		w.u32(1) // until the unit ends
		w.properties(list)
	})
	if err != nil {
		return fmt.Errorf("cannot change the limits of %s: %w", unit, err)
	}
	return nil
}

// Enclose has systemd make a scope around a process that runs, and returns the
// path of its group. An account may do with the group what it likes; it goes
// when nothing runs in it any more.
func Enclose(slice, unit string, pid int) (group string, err error) {
	return enclose(sockets(), slice, unit, pid)
}

func enclose(sockets []string, slice, unit string, pid int) (string, error) {
	unit, slice, err := names(slice, "", unit)
	if err != nil {
		return "", err
	}
	b, err := connect(sockets)
	if err != nil {
		return "", err
	}
	defer b.close()
	err = b.start(unit, []property{
		{"Description", "berth container " + unit},
		{"Slice", slice},
		{"Delegate", true},
		{"CollectMode", "inactive-or-failed"}, // nothing of it stays
		{"PIDs", []uint32{uint32(pid)}},
	})
	if err != nil {
		return "", fmt.Errorf("cannot start the scope %s: %w", unit, err)
	}
	group, err := groupOf(pid)
	if err == nil && !strings.HasSuffix(group, "/"+unit) {
		err = fmt.Errorf("systemd has not moved process %d into the scope %s: it is in %s", pid, unit, group)
	}
	return group, err
}

// Enter moves the calling process, of an ordinary account, to its systemd: into
// a scope of its own, which goes with it. The kernel lets an account move a
// process only within what is the account's, which a login session's group is
// not; so what a login forks can join the groups of the account's systemd only
// after this. Whoever is there already stays.
func Enter() error {
	uid := outerUID()
	if uid == 0 {
		return nil
	}
	if place, err := groupOf(os.Getpid()); err == nil && below(place, uid) {
		return nil
	}
	_, err := Enclose("", fmt.Sprintf("berth-command-%d", os.Getpid()), os.Getpid())
	return err
}

// below tells whether a group belongs to the systemd of an account.
func below(group string, uid int) bool {
	return strings.Contains(group+"/", fmt.Sprintf("/user@%d.service/", uid))
}

// start starts a scope and waits until it is there. A failed one of the same
// name, left over, is cleared away first.
func (b *bus) start(unit string, list []property) error {
	for try := 0; ; try++ {
		m, err := b.manager("StartTransientUnit", "ssa(sv)a(sa(sv))", func(w *writer) {
			w.str(unit)
			w.str("replace")
			w.properties(list)
			w.array(8, func() {}) // no further units
		})
		var told *busError
		if errors.As(err, &told) && told.name == manager+".UnitExists" && try == 0 {
			if _, err := b.manager("ResetFailedUnit", "s", func(w *writer) { w.str(unit) }); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		result, err := b.job(m.body.str())
		if err == nil && result != "done" {
			err = fmt.Errorf("systemd answers %q", result)
		}
		return err
	}
}

// names gives the unit and its slice. The names become paths of control groups.
func names(slice, prefix, name string) (unit, in string, err error) {
	if slice == "" {
		slice = "system.slice"
		if outerUID() != 0 {
			slice = "user.slice"
		}
	}
	unit = name
	if !strings.HasSuffix(name, ".scope") {
		unit = name + ".scope"
		if prefix != "" {
			unit = prefix + "-" + unit
		}
	}
	for _, s := range []string{slice, unit} {
		if strings.ContainsAny(s, "/\x00") || len(s) > 255 {
			return "", "", fmt.Errorf("%q cannot be the name of a unit of systemd's", s)
		}
	}
	if !strings.HasSuffix(slice, ".slice") {
		return "", "", fmt.Errorf("cgroup parent %q is not the name of a slice of systemd's", slice)
	}
	return unit, slice, nil
}

// groupOf returns the group that systemd has put a process into: the one in
// version 2, or in systemd's own tree of version 1.
func groupOf(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", fmt.Errorf("cannot tell where systemd has made the group: %w", err)
	}
	found := ""
	for line := range strings.Lines(string(b)) {
		part := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3)
		switch {
		case len(part) != 3:
		case part[1] == "name=systemd":
			return part[2], nil
		case part[0] == "0":
			found = part[2]
		}
	}
	if found == "" || found == "/" {
		return "", errors.New("systemd has made no control group for the scope")
	}
	return found, nil
}

// limits are those that systemd has words for (systemd.resource-control(5)).
// The rest is written into the delegated group alone.
func limits(l cgroup.Limits, v2 bool) []property {
	var out []property
	amount := func(name string, n int64) {
		switch {
		case n > 0:
			out = append(out, property{name, uint64(n)})
		case n < 0:
			out = append(out, property{name, uint64(math.MaxUint64)})
		}
	}
	amount("TasksMax", l.PidsLimit)
	if !v2 {
		amount("MemoryLimit", l.Memory)
		amount("CPUShares", l.CPUShares)
		amount("BlockIOWeight", int64(l.BlkioWeight))
	} else {
		amount("MemoryMax", l.Memory)
		amount("MemoryLow", max(l.MemoryReservation, 0))
		if l.MemorySwap < 0 || l.MemorySwap > 0 && l.Memory > 0 {
			swap := l.MemorySwap
			if swap > 0 {
				swap -= l.Memory
			}
			if swap == 0 {
				out = append(out, property{"MemorySwapMax", uint64(0)})
			}
			amount("MemorySwapMax", swap)
		}
		if l.CPUShares > 0 {
			amount("CPUWeight", cgroup.WeightOfShares(l.CPUShares))
		}
	}
	return append(out, quota(l)...)
}

// quota is µs of processor time in a second. systemd rounds to 10 ms and would
// refuse none at all.
func quota(l cgroup.Limits) []property {
	q, period := l.CPUQuota, l.CPUPeriod
	if l.NanoCPUs > 0 {
		q, period = l.NanoCPUs/10000, 100000
	}
	if period == 0 {
		period = 100000
	}
	var out []property
	if l.CPUPeriod != 0 {
		out = append(out, property{"CPUQuotaPeriodUSec", uint64(l.CPUPeriod)})
	}
	switch {
	case q < 0:
		out = append(out, property{"CPUQuotaPerSecUSec", uint64(math.MaxUint64)})
	case q > 0:
		perSecond := uint64(q) * 1000000 / uint64(period)
		const step = 10000
		out = append(out, property{"CPUQuotaPerSecUSec", (perSecond + step - 1) / step * step})
	}
	return out
}
