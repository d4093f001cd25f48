package holder

import (
	"fmt"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"berth/internal/errdef"
	"berth/internal/network"
	"berth/internal/network/ipam"
	"berth/internal/network/wire"
)

// join reserves what a container that is about to start asks for, and makes the
// bridges it will be on. Its interfaces come when it has a namespace (attach).
func (h *Holder) join(c *wire.Conn, j *wire.Join) (*member, error) {
	// Its shim has ended, or the caller would not have the container's lock: we
	// have only not noticed yet.
	h.evict(j.ID)
	m := &member{Join: *j, conn: c, settings: network.Settings{V: 1}}
	if err := h.reserve(m); err != nil {
		return nil, err
	}
	err := h.publish(m, j.Ports)
	if err == nil {
		err = h.bringUp(m)
	}
	if err == nil {
		h.resolver(m)
		err = h.record(m)
	}
	if err != nil {
		h.release(m)
		return nil, err
	}
	return m, nil
}

// evict takes back what a container has.
func (h *Holder) evict(id string) {
	h.mu.RLock()
	m := h.members[id]
	h.mu.RUnlock()
	if m != nil {
		h.release(m)
	}
}

// reserve gives a container its addresses and counts it in.
func (h *Holder) reserve(m *member) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.kept, m.ID)
	for i := range m.Endpoints {
		s, err := h.settle(m, &m.Endpoints[i], i)
		if err != nil {
			for _, s := range m.settings.Endpoints {
				h.giveBack(s)
			}
			return err
		}
		m.settings.Endpoints = append(m.settings.Endpoints, s)
	}
	m.settings.Endpoints = firstWayOut(m.Endpoints, m.settings.Endpoints)
	h.members[m.ID] = m
	return nil
}

// settle gives a container its place in one network. The lock is held.
func (h *Holder) settle(m *member, e *network.Endpoint, number int) (network.Settled, error) {
	l := h.network(e.Network)
	s := network.Settled{
		NetworkID: l.ID, Network: l.Name, ID: newID(), Interface: e.Interface, MAC: e.MAC, Names: namesOf(m, e),
	}
	if s.Interface == "" {
		s.Interface = fmt.Sprintf("eth%d", number)
	}
	s.Link = "veth" + s.ID[:7]
	var err error
	if s.IPv4, err = give(l.book, e.IPv4, false); err == nil {
		s.IPv6, err = give(l.book, e.IPv6, true)
	}
	if err != nil {
		l.book.Free(s.IPv4.Addr())
		h.forget(l)
		return s, err
	}
	l.uses++
	if !l.Internal || l.Driver != network.Bridge {
		s.Gateway4, s.Gateway6 = l.book.Gateway(s.IPv4.Addr()), l.book.Gateway(s.IPv6.Addr())
	}
	if s.MAC == "" && s.IPv4.IsValid() {
		s.MAC = ipam.MAC(s.IPv4.Addr())
	}
	return s, nil
}

// give takes one address of a family, if the network has any.
func give(b *ipam.Book, asked netip.Addr, v6 bool) (netip.Prefix, error) {
	switch {
	case asked.IsValid():
		return b.Take(asked)
	case b.Has(v6):
		return b.Any(v6)
	}
	return netip.Prefix{}, nil
}

// network returns the live network of a record. The lock is held.
func (h *Holder) network(n network.Network) *live {
	if l := h.networks[n.ID]; l != nil {
		return l
	}
	l := &live{Network: n, book: ipam.Open(n)}
	for _, k := range h.kept {
		for _, s := range k.Endpoints {
			if s.NetworkID == n.ID {
				take(l.book, s)
			}
		}
	}
	h.networks[n.ID] = l
	return l
}

// take marks the addresses as given, which they may be already.
func take(b *ipam.Book, s network.Settled) {
	for _, a := range s.Addresses() {
		b.Take(a)
	}
}

// giveBack ends a place in a network. The lock is held.
func (h *Holder) giveBack(s network.Settled) {
	l := h.networks[s.NetworkID]
	if l == nil {
		return
	}
	for _, a := range s.Addresses() {
		l.book.Free(a)
	}
	l.uses--
	h.forget(l)
}

// forget lets a network go that nobody is in and of which nothing is made. The
// lock is held.
func (h *Holder) forget(l *live) {
	if l.uses == 0 && !l.up {
		delete(h.networks, l.ID)
	}
}

// namesOf is what others in a network may call a container.
func namesOf(m *member, e *network.Endpoint) []string {
	names := []string{m.Name}
	for _, n := range append(slices.Clone(e.Aliases), m.ID[:min(12, len(m.ID))], m.Hostname) {
		if n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// firstWayOut puts the place first that has the default route.
func firstWayOut(asked []network.Endpoint, got []network.Settled) []network.Settled {
	of := map[string]network.Endpoint{}
	for _, e := range asked {
		of[e.Network.ID] = e
	}
	if len(got) < 2 {
		return got
	}
	first := slices.MinFunc(got, func(a, b network.Settled) int { return network.ByWayOut(of[a.NetworkID], of[b.NetworkID]) })
	rest := slices.DeleteFunc(slices.Clone(got), func(s network.Settled) bool { return s.NetworkID == first.NetworkID })
	return append([]network.Settled{first}, rest...)
}

// release takes back all that a container has. Its interfaces have gone with its
// namespace, or go with it.
func (h *Holder) release(m *member) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.members[m.ID] != m {
		return
	}
	delete(h.members, m.ID)
	h.stop(m)
	if m.public != nil {
		m.public.Close()
	}
	for _, s := range m.settings.Endpoints {
		h.giveBack(s)
	}
	os.Remove(h.dir.Path("containers", m.ID, network.SettingsFile))
}

// isNetwork checks that a file is a network namespace (ioctl_ns(2)).
func isNetwork(ns *os.File) error {
	kind, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return &errdef.Error{Kind: errdef.ErrInvalid, Text: "what came with the request is no network namespace"}
	}
	return nil
}
