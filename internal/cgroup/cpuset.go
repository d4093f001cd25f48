package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// fillCpuset gives every group from the top down to dir processors and memory
// nodes, which version 1 creates without any: such a group takes no process.
func fillCpuset(mount, dir string) error {
	if len(dir) <= len(mount) {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := fillCpuset(mount, parent); err != nil {
		return err
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		if have, err := os.ReadFile(filepath.Join(dir, name)); err != nil {
			return err
		} else if strings.TrimSpace(string(have)) != "" {
			continue
		}
		all, err := os.ReadFile(filepath.Join(parent, name))
		if err != nil {
			return err
		}
		if err := write(filepath.Join(dir, name), strings.TrimSpace(string(all))); err != nil {
			return err
		}
	}
	return nil
}

// checkCpuset refuses processors and memory nodes that are not there: version 2
// would take them without a word and use others.
func checkCpuset(s setting, parent string) error {
	what := "CPUs"
	files := []string{"cpuset.cpus.effective", "cpuset.effective_cpus"}
	if s.file == "cpuset.mems" {
		what = "memory nodes"
		files = []string{"cpuset.mems.effective", "cpuset.effective_mems"}
	}
	want, err := parseList(s.value)
	if err != nil {
		return fmt.Errorf("invalid value %s for %s: %w", s.value, s.option, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(filepath.Join(parent, name))
		if err != nil {
			continue
		}
		text := strings.TrimSpace(string(b))
		have, err := parseList(text)
		if err == nil && !contains(have, want) {
			return fmt.Errorf("requested %s are not available - requested %s, available: %s", what, s.value, text)
		}
		break
	}
	return nil
}

// span is the numbers from lo to hi, both included.
type span struct{ lo, hi int }

// parseList reads a list of numbers such as "0-2,7".
func parseList(s string) ([]span, error) {
	var out []span
	for part := range strings.SplitSeq(s, ",") {
		a, b, isRange := strings.Cut(strings.TrimSpace(part), "-")
		lo, err := strconv.ParseUint(a, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("%q is not a list such as 0-2,7", s)
		}
		hi := lo
		if isRange {
			if hi, err = strconv.ParseUint(b, 10, 31); err != nil || hi < lo {
				return nil, fmt.Errorf("%q is not a list such as 0-2,7", s)
			}
		}
		out = append(out, span{int(lo), int(hi)})
	}
	return out, nil
}

// contains reports whether every number of want is in have, whose spans are
// sorted and do not touch, as the kernel prints them.
func contains(have, want []span) bool {
	for _, w := range want {
		ok := false
		for _, h := range have {
			ok = ok || h.lo <= w.lo && w.hi <= h.hi
		}
		if !ok {
			return false
		}
	}
	return true
}
