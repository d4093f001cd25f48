package shim

import (
	"cmp"
	"context"
	"maps"
	"strconv"

	"berth/internal/journal"
	"berth/internal/network"
	"berth/internal/published"
	"berth/internal/state"
)

// happened tells the journal. What a container does goes on without it.
func (c *container) happened(action string, more map[string]string) {
	attrs := maps.Clone(*c.attributes.Load())
	if attrs == nil {
		attrs = map[string]string{}
	}
	maps.Copy(attrs, more)
	c.journal.Append(journal.Event{Type: "container", Action: action, ID: c.plan.ID, Attributes: attrs})
}

// inNetworks tells the journal which networks the container has come into, or
// gone out of.
func (c *container) inNetworks(action string) {
	if c.plan.Network == nil {
		return
	}
	var got network.Settings
	if state.ReadJSON(network.SettingsFile, &got) != nil {
		return // it runs without
	}
	drivers := map[string]string{}
	for _, e := range c.plan.Network.Join.Endpoints {
		drivers[e.Network.ID] = e.Network.Driver
	}
	var all []journal.Event
	for _, e := range got.Endpoints {
		attrs := map[string]string{"container": c.plan.ID, "name": e.Network, "type": cmp.Or(drivers[e.NetworkID], network.Bridge)}
		all = append(all, journal.Event{Type: "network", Action: action, ID: e.NetworkID, Attributes: attrs})
	}
	if len(all) > 0 {
		c.journal.Append(all...)
	}
}

// publish tells other accounts, if they are to know. The container runs whether
// or not it can be told.
func (c *container) publish() {
	if c.plan.Public == nil {
		return
	}
	e := *c.plan.Public
	e.Shim, e.Since = c.status.Shim, c.started
	if name := (*c.attributes.Load())["name"]; name != "" {
		e.Name = name // it may have been renamed since it was planned
	}
	c.posting.Close()
	c.posting, _ = published.Open().Put(e)
}

// died tells how the first process ended.
func (c *container) died() {
	ran := c.status.FinishedAt.Sub(c.started)
	c.happened("die", map[string]string{
		"exitCode": strconv.Itoa(c.status.ExitCode), "execDuration": strconv.Itoa(int(ran.Seconds())),
	})
	c.inNetworks("disconnect")
}

// watchMemory has every kill for want of memory told when it happens.
func (c *container) watchMemory() {
	if c.plan.Cgroup == nil {
		return
	}
	if c.unwatch != nil {
		c.unwatch()
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.unwatch = cancel
	kills, err := c.plan.Cgroup.WatchOOM(ctx)
	if err != nil {
		return // nobody counts its memory
	}
	go func() {
		for n := range kills {
			c.events <- func() {
				// The same number again: the killer is disabled.
				if n > c.kills || n == c.kills && c.alive() {
					c.happened("oom", nil)
				}
				c.kills = max(c.kills, n)
			}
		}
	}()
}

// countKills notes whether memory was wanting in the run that has just ended,
// and tells of what the watch did not come to tell.
func (c *container) countKills() {
	if c.plan.Cgroup == nil {
		return
	}
	n := c.plan.Cgroup.OOMKills()
	if n > c.kills {
		c.happened("oom", nil)
	}
	c.status.OOMKilled = n > c.killsBefore
	c.kills, c.killsBefore = n, n
}
