package holder

import (
	"fmt"
	"net/netip"

	"berth/internal/network/uplink"
)

// openWay connects an account's bridges with the host's network, when the first
// network is made that is to have a way out. making is held.
func (h *Holder) openWay(l *live) error {
	if !h.account || l.Internal {
		return nil
	}
	if h.uplink == nil {
		u, err := uplink.Start(uplink.Config{Space: h.space, Namespace: h.ns})
		if err != nil {
			return fmt.Errorf("no way out of the account's networks: %w; --network host works", err)
		}
		h.uplink = u
	}
	h.uplink.Allow(h.outbound(l))
	return nil
}

// outbound are the subnets whose packets may go out, those of one more network
// among them.
func (h *Holder) outbound(more *live) (all []netip.Prefix) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, l := range h.networks {
		if l.Internal || !l.up && l != more {
			continue
		}
		for _, s := range l.Subnets {
			all = append(all, s.Prefix)
		}
	}
	return all
}
