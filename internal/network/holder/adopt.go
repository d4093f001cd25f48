package holder

import (
	"os"
	"time"

	"berth/internal/network"
	"berth/internal/network/wire"
	"berth/internal/state"
)

// keeping is how long what running containers had is kept for them.
const keeping = 10 * time.Second

// remember finds what running containers had from a holder before this one. Their
// shims are about to say so themselves; until then nobody else gets it.
func (h *Holder) remember() {
	entries, _ := os.ReadDir(h.dir.Path("containers"))
	for _, d := range entries {
		k := new(keep)
		if state.ReadJSON(h.dir.Path("containers", d.Name(), network.SettingsFile), &k.Settings) != nil {
			continue
		}
		var status struct{ Shim state.Owner }
		if state.ReadJSON(h.dir.Path("containers", d.Name(), "state.json"), &status) == nil && status.Shim.Alive() {
			h.kept[d.Name()] = k
		}
	}
	if len(h.kept) > 0 {
		time.AfterFunc(keeping, h.keepNoMore)
	}
}

func (h *Holder) keepNoMore() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, k := range h.kept {
		delete(h.kept, id)
		for _, s := range k.Endpoints {
			if l := h.networks[s.NetworkID]; l != nil {
				h.free(l, s)
			}
		}
	}
}

// adopt takes over a container that has been running with another holder, or
// that waits to be started again, and so has no namespace now. Its interfaces and
// its bridge are there.
func (h *Holder) adopt(c *wire.Conn, j *wire.Join, ns []*os.File) (*member, error) {
	if len(ns) > 0 {
		if err := isNetwork(ns[0]); err != nil {
			return nil, err
		}
	}
	h.evict(j.ID)
	m := &member{Join: *j, conn: c}
	if j.Settled != nil {
		m.settings = *j.Settled
	}
	h.mu.Lock()
	for _, s := range m.settings.Endpoints {
		for i := range m.Endpoints {
			if m.Endpoints[i].Network.ID == s.NetworkID {
				l := h.network(m.Endpoints[i].Network)
				take(l.book, s)
				l.uses++
			}
		}
	}
	delete(h.kept, m.ID)
	h.members[m.ID] = m
	h.mu.Unlock()
	err := h.publish(m, m.settings.Ports)
	if err == nil {
		err = h.bringUp(m)
	}
	if err == nil && len(ns) > 0 {
		err = h.watch(m, ns[0])
	}
	if err != nil {
		h.release(m)
		return nil, err
	}
	return m, nil
}

// free gives addresses back that a container has not come for.
func (h *Holder) free(l *live, s network.Settled) {
	for _, m := range h.members {
		for _, t := range m.settings.Endpoints {
			if t.NetworkID == s.NetworkID && (t.IPv4 == s.IPv4 || t.IPv6.IsValid() && t.IPv6 == s.IPv6) {
				return
			}
		}
	}
	for _, a := range s.Addresses() {
		l.book.Free(a)
	}
}
