package site

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"berth/internal/config"
)

// FillLimits gives a container the limits that it does not ask for itself.
func FillLimits(hc *container.HostConfig, s *config.Site) {
	if hc.ShmSize == 0 {
		hc.ShmSize = s.ShmSize
	}
	if hc.Memory == 0 {
		hc.Memory = s.Limits.Memory
	}
	if hc.NanoCPUs == 0 && hc.CPUQuota == 0 && hc.CPUPeriod == 0 {
		// One file may be for machines of many sizes.
		hc.NanoCPUs = min(s.Limits.NanoCPUs, int64(runtime.NumCPU())*1e9)
	}
	if n := s.Limits.Pids; n > 0 && (hc.PidsLimit == nil || *hc.PidsLimit == 0) {
		hc.PidsLimit = &n
	}
	for _, u := range s.Limits.Ulimits {
		if !slices.ContainsFunc(hc.Ulimits, func(o *units.Ulimit) bool { return o.Name == u.Name }) {
			hc.Ulimits = append(hc.Ulimits, u)
		}
	}
}

// Mounts returns the default mounts of an account's containers, as volume
// takes binds. One whose source is not there is left out with a warning: a
// share that is not mounted today is no reason to run nothing.
func Mounts(list []string, user, home string) (binds, warnings []string) {
	for _, m := range list {
		m = strings.ReplaceAll(m, userWord, user)
		if rest, ok := strings.CutPrefix(m, "~"); ok {
			if home == "" {
				warnings = append(warnings, fmt.Sprintf("the machine's default mount %s is left out: this account has no home folder", m))
				continue
			}
			m = home + rest
		}
		src, _, _ := strings.Cut(m, ":")
		if _, err := os.Stat(src); err != nil {
			warnings = append(warnings, fmt.Sprintf("the machine's default mount %s is left out: %v", m, err))
			continue
		}
		binds = append(binds, m)
	}
	return binds, warnings
}
