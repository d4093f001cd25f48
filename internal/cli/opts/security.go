package opts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// buildSecurity fills in capabilities, security options and kernel parameters.
func (c *Container) buildSecurity(hc *container.HostConfig) error {
	hc.Privileged, hc.ReadonlyRootfs = c.privileged, c.readOnly
	hc.CapAdd, hc.CapDrop = capabilities(c.capAdd.values), capabilities(c.capDrop.values)
	if len(c.sysctls.values) > 0 {
		hc.Sysctls = toMap(c.sysctls.values)
	}
	for _, o := range c.security.values {
		if o == "systempaths=unconfined" {
			hc.MaskedPaths, hc.ReadonlyPaths = []string{}, []string{}
			continue
		}
		o, err := securityOption(o)
		if err != nil {
			return err
		}
		hc.SecurityOpt = append(hc.SecurityOpt, o)
	}
	return nil
}

// securityOption checks one option. A seccomp profile is named by its file on
// the command line and by its content from there on, because nobody can say
// whether the file still is the same when the container starts again.
func securityOption(o string) (string, error) {
	key, value, ok := strings.Cut(o, "=")
	if !ok && o != "no-new-privileges" {
		// The colon is the older separator.
		if key, value, ok = strings.Cut(o, ":"); !ok {
			return "", fmt.Errorf("invalid --security-opt: %q", o)
		}
	}
	if key != "seccomp" || value == "unconfined" || value == "builtin" {
		return o, nil
	}
	profile, err := os.ReadFile(value)
	if err != nil {
		return "", fmt.Errorf("opening seccomp profile (%s) failed: %w", value, err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, profile); err != nil {
		return "", fmt.Errorf("compacting json for seccomp profile (%s) failed: %w", value, err)
	}
	return "seccomp=" + compact.String(), nil
}

// capabilities writes names the kernel's way, CAP_NET_RAW for net_raw, each
// once and in order.
func capabilities(names []string) []string {
	var out []string
	for _, n := range names {
		n = strings.ToUpper(strings.TrimSpace(n))
		if n != "ALL" && !strings.HasPrefix(n, "CAP_") {
			n = "CAP_" + n
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
