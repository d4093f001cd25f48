package holder

import (
	"fmt"
	"slices"

	"berth/internal/errdef"
	"berth/internal/network"
	"berth/internal/network/link"
	"berth/internal/network/wire"
	"berth/internal/state"
)

// addNetwork puts a container that runs into one more network.
func (h *Holder) addNetwork(q *wire.Connect) error {
	m, err := h.running(q.ID)
	if err != nil {
		return err
	}
	h.mu.Lock()
	m.Endpoints = append(m.Endpoints, q.Endpoint)
	s, err := h.settle(m, &q.Endpoint, len(m.settings.Endpoints))
	if err != nil {
		m.Endpoints = m.Endpoints[:len(m.Endpoints)-1]
		h.mu.Unlock()
		return err
	}
	before := m.settings.Endpoints
	m.settings.Endpoints = append(slices.Clone(before), s)
	h.mu.Unlock()
	err = h.bringUp(m)
	if err == nil {
		err = h.connect(s, false, m.ns)
	}
	if err != nil {
		h.mu.Lock()
		m.Endpoints, m.settings.Endpoints = m.Endpoints[:len(m.Endpoints)-1], before
		h.giveBack(s)
		h.mu.Unlock()
		return err
	}
	h.name(m, s)
	return h.changed(m)
}

// leaveNetwork takes a container that runs out of a network.
func (h *Holder) leaveNetwork(q *wire.Disconnect) error {
	m, err := h.running(q.ID)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(m.settings.Endpoints, func(s network.Settled) bool { return s.NetworkID == q.NetworkID })
	if i < 0 {
		return &errdef.Error{Kind: errdef.ErrNotFound, Text: fmt.Sprintf("container %s is not connected to network %s", m.Name, q.NetworkID)}
	}
	s := m.settings.Endpoints[i]
	if err := link.Detach(link.Inner{Namespace: m.ns, Name: s.Interface}); err != nil {
		return err
	}
	h.names.Remove(m.ID, s.NetworkID)
	h.mu.Lock()
	m.settings.Endpoints = slices.Delete(slices.Clone(m.settings.Endpoints), i, i+1)
	m.Endpoints = slices.DeleteFunc(m.Endpoints, func(e network.Endpoint) bool { return e.Network.ID == s.NetworkID })
	h.giveBack(s)
	h.mu.Unlock()
	return h.changed(m)
}

// changed has the default route, the published ports and the record of a container
// follow its networks.
func (h *Holder) changed(m *member) error {
	h.mu.Lock()
	m.settings.Endpoints = firstWayOut(m.Endpoints, m.settings.Endpoints)
	h.shut(m)
	h.mu.Unlock()
	if len(m.settings.Endpoints) > 0 {
		s := m.settings.Endpoints[0]
		if err := link.SetGateways(m.ns, s.Interface, s.Gateways()); err != nil {
			return err
		}
		if err := h.open(m); err != nil {
			return err
		}
	}
	return h.record(m)
}

// record writes what a container has into its folder.
func (h *Holder) record(m *member) error {
	return state.WriteVolatileJSON(h.dir.Path("containers", m.ID, network.SettingsFile), &m.settings)
}

// rename has a container answer to another name.
func (h *Holder) rename(q *wire.Rename) error {
	m, err := h.running(q.ID)
	if err != nil {
		return err
	}
	h.mu.Lock()
	old := m.Name
	m.Name = q.Name
	for i := range m.settings.Endpoints {
		s := &m.settings.Endpoints[i]
		s.Names = slices.DeleteFunc(slices.Clone(s.Names), func(n string) bool { return n == old || n == q.Name })
		s.Names = append([]string{q.Name}, s.Names...)
	}
	ends := slices.Clone(m.settings.Endpoints)
	h.mu.Unlock()
	for _, s := range ends {
		h.name(m, s)
	}
	return h.record(m)
}

// running finds a container that is served. Commands ask under its lock, so
// nothing else changes it.
func (h *Holder) running(id string) (*member, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	m := h.members[id]
	if m == nil || m.ns == nil {
		return nil, &errdef.Error{Kind: errdef.ErrNotRunning, Text: "container " + id[:min(12, len(id))] + " has no network that could be changed"}
	}
	return m, nil
}
