package roster

import (
	"cmp"
	"fmt"
	"strings"

	"berth/internal/errdef"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Complete fills what the request leaves open, by Docker's rules.
func Complete(c *container.Config, img *dockerspec.DockerOCIImageConfig) {
	if c.User == "" {
		c.User = img.User
	}
	if c.WorkingDir == "" {
		c.WorkingDir = img.WorkingDir
	}
	if c.StopSignal == "" {
		c.StopSignal = img.StopSignal
	}
	if len(c.Entrypoint) == 0 && c.Entrypoint == nil {
		if len(c.Cmd) == 0 {
			c.Cmd = img.Cmd
		}
		c.Entrypoint = img.Entrypoint
	} else if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" {
		c.Entrypoint = nil // --entrypoint "" takes the image's away
	}
	c.Env = mergeEnv(img.Env, c.Env)
	c.Labels = mergeMap(img.Labels, c.Labels)
	c.Volumes = mergeMap(img.Volumes, c.Volumes)
	c.Healthcheck = completeHealth(c.Healthcheck, img.Healthcheck)
	mergePorts(c, img.ExposedPorts)
}

// completeHealth fills what a request leaves open of the image's health check:
// with options but no command it is the image's command that is run.
func completeHealth(asked, img *container.HealthConfig) *container.HealthConfig {
	if asked == nil || img == nil {
		return cmp.Or(asked, img)
	}
	h := *asked
	if len(h.Test) == 0 {
		h.Test = img.Test
	}
	h.Interval = cmp.Or(h.Interval, img.Interval)
	h.Timeout = cmp.Or(h.Timeout, img.Timeout)
	h.StartPeriod = cmp.Or(h.StartPeriod, img.StartPeriod)
	h.StartInterval = cmp.Or(h.StartInterval, img.StartInterval)
	h.Retries = cmp.Or(h.Retries, img.Retries)
	return &h
}

// mergeEnv keeps the image's order and lets the request replace by key.
func mergeEnv(base, over []string) []string {
	var out []string
	for _, kv := range base {
		if !hasKey(over, kv) {
			out = append(out, kv)
		}
	}
	return append(out, over...)
}

func hasKey(list []string, kv string) bool {
	key, _, _ := strings.Cut(kv, "=")
	for _, o := range list {
		if k, _, _ := strings.Cut(o, "="); k == key {
			return true
		}
	}
	return false
}

func mergeMap[V any](base, over map[string]V) map[string]V {
	if len(base) == 0 {
		return over
	}
	out := make(map[string]V, len(base)+len(over))
	for k, v := range base {
		out[k] = v
	}
	for k, v := range over {
		out[k] = v
	}
	return out
}

func mergePorts(c *container.Config, exposed map[string]struct{}) {
	for text := range exposed {
		p, err := network.ParsePort(text)
		if err != nil {
			continue // an image's oddity is no reason not to run it
		}
		if c.ExposedPorts == nil {
			c.ExposedPorts = network.PortSet{}
		}
		c.ExposedPorts[p] = struct{}{}
	}
}

// SettleNetwork decides what of the network of a container package networks does
// not. Without --network a container uses the host's network, where a published
// port that keeps its number works by nature and one that changes cannot.
func SettleNetwork(cfg *container.Config, hc *container.HostConfig) ([]string, error) {
	if _, err := AskedPorts(cfg, hc); err != nil {
		return nil, err
	}
	mode := string(hc.NetworkMode)
	switch {
	case mode == "host":
		if len(hc.PortBindings) > 0 {
			hc.PortBindings = nil
			return []string{"Published ports are discarded when using host network mode"}, nil
		}
	case mode == "", mode == "default":
		hc.NetworkMode = "default"
		for p, bindings := range hc.PortBindings {
			for _, b := range bindings {
				if b.HostPort != "" && b.HostPort != fmt.Sprint(p.Num()) {
					return nil, &errdef.Error{Kind: errdef.ErrNotSupported, Text: fmt.Sprintf("cannot publish %s as %s: containers share the host's network in this version, so a port keeps its number: use -p %d:%d, or let the program listen on %s",
						p, b.HostPort, p.Num(), p.Num(), b.HostPort)}
				}
			}
		}
	case strings.HasPrefix(mode, "container:"):
		if len(hc.PortBindings) > 0 {
			return nil, &errdef.Error{Kind: errdef.ErrInvalid, Text: "conflicting options: port publishing and the container type network mode"}
		}
	}
	return nil, nil
}
