package engine

import (
	"github.com/moby/moby/api/types/container"

	"berth/internal/config"
	"berth/internal/host"
	"berth/internal/roster"
	"berth/internal/site"
)

// naming is what the machine wants containers to be called.
func naming(cfg config.Config, h host.Host) roster.Naming {
	if cfg.NamePattern == "" {
		return nil
	}
	return site.NewNames(cfg.NamePattern, host.AccountName(h.UID), host.HasAccount).Complete
}

// applySite gives a new container what the machine's administrator has decided
// for those that do not say it themselves.
func (e *Engine) applySite(hc *container.HostConfig) (warnings []string) {
	site.FillLimits(hc, &e.config.Site)
	_, warnings = e.siteMounts()
	return warnings
}

func (e *Engine) siteMounts() (binds, warnings []string) {
	if len(e.config.Mounts) == 0 {
		return nil, nil
	}
	return site.Mounts(e.config.Mounts, host.AccountName(e.host.UID), e.host.Home)
}
