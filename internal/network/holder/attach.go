package holder

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"

	"berth/internal/network"
	"berth/internal/network/firewall"
	"berth/internal/network/link"
	"berth/internal/network/names"
	"berth/internal/network/ports"
	"berth/internal/sys"
)

// attach makes the interfaces of a container in its namespace, and begins to
// serve it.
func (h *Holder) attach(m *member, ns *os.File) error {
	if err := isNetwork(ns); err != nil {
		return err
	}
	for i, s := range h.ends(m) {
		if err := h.connect(s, i == 0, ns); err != nil {
			return err
		}
	}
	return h.watch(m, ns)
}

// watch begins to serve a container whose interfaces are there: names first,
// which its program may ask for at once.
func (h *Holder) watch(m *member, ns *os.File) error {
	own, err := sys.Dup(ns)
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.stop(m)
	m.ns = own
	h.mu.Unlock()
	if asksUs(m.settings.DNS) {
		if err := h.answerNames(m); err != nil {
			return err
		}
	}
	for _, s := range h.ends(m) {
		h.name(m, s)
	}
	return h.open(m)
}

// ends are a container's places in networks at this moment.
func (h *Holder) ends(m *member) []network.Settled {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Clone(m.settings.Endpoints)
}

// stop ends what is served to a container that has ended. The lock is held.
func (h *Holder) stop(m *member) {
	if m.mute != nil {
		m.mute()
		m.mute = nil
	}
	h.names.RemoveAll(m.ID)
	h.shut(m)
	if m.ns != nil {
		m.ns.Close()
		m.ns = nil
	}
}

// shut takes back the rules of a container's ports.
func (h *Holder) shut(m *member) {
	for _, r := range m.rules {
		_ = h.table.Unpublish(r) // it is gone with the table at the latest
	}
	m.rules = nil
	if h.account {
		for _, s := range m.settings.Endpoints {
			for _, a := range s.Addresses() {
				h.clear.Forget(a)
			}
		}
	}
}

// publish listens on a container's ports, which reserves them. What comes waits
// until the container runs.
func (h *Holder) publish(m *member, asked []network.Port) (err error) {
	if len(asked) == 0 {
		return nil
	}
	if m.public, err = h.ports.Reserve(m.Name, asked); err == nil {
		m.settings.Ports = m.public.Settled()
	}
	return err
}

// open carries what comes to a container's ports to it: by the kernel where it
// comes from outside of a host of root's, by ourselves otherwise.
func (h *Holder) open(m *member) error {
	ends := h.ends(m)
	if m.public == nil || len(ends) == 0 {
		return nil
	}
	s := ends[0]
	dial := ports.Direct
	if h.account {
		dial = h.clear.Dial
		if len(s.Gateways()) == 0 {
			dial = ports.Inside(h.space.Do) // it could not answer addresses from afar
		}
	}
	m.public.Serve(dial, s.IPv4.Addr(), s.IPv6.Addr())
	if h.account {
		return nil
	}
	l := h.live(s.NetworkID)
	for _, p := range m.settings.Ports {
		to := s.IPv4.Addr()
		if p.HostIP.Is6() {
			to = s.IPv6.Addr()
		}
		if !to.IsValid() || p.HostIP.IsLoopback() {
			continue
		}
		r := firewall.Rule{Proto: p.Proto, HostIP: p.HostIP, HostPort: p.HostPort, To: netip.AddrPortFrom(to, p.Inside), Interface: l.Interface}
		if err := h.table.Publish(r); err != nil {
			return err
		}
		h.mu.Lock()
		m.rules = append(m.rules, r)
		h.mu.Unlock()
	}
	return nil
}

// name makes a container known in a network.
func (h *Holder) name(m *member, s network.Settled) {
	n := names.Member{Container: m.ID, Network: s.NetworkID, NetName: s.Network, Names: s.Names, Addrs: s.Addresses()}
	if s.Network == network.Default {
		n.Names = nil // Docker's way: there only links have names
	}
	for _, e := range m.Endpoints {
		if e.Network.ID == s.NetworkID {
			n.Links = e.Links
			for _, p := range e.Network.Subnets {
				n.Subnets = append(n.Subnets, p.Prefix)
			}
		}
	}
	h.names.Put(n)
}

// answerNames starts the container's server of names, on a socket in its
// namespace, so that nobody else asks it.
func (h *Holder) answerNames(m *member) error {
	in, err := link.Open(m.ns)
	if err != nil {
		return err
	}
	defer in.Close()
	var udp net.PacketConn
	var tcp net.Listener
	err = in.Do(func() (err error) {
		udp, tcp, err = names.Listen()
		return err
	})
	if err != nil {
		return err
	}
	mute := names.Serve(udp, tcp, h.names.Of(m.ID, m.settings.Gateway), h.upstream(m))
	h.mu.Lock()
	m.mute = mute
	h.mu.Unlock()
	return nil
}

// upstream is who knows the names for a container that no container has: the
// servers it named, which it reaches itself, or the host's; nobody if it has no way
// out.
func (h *Holder) upstream(m *member) *names.Upstream {
	if !slices.ContainsFunc(m.Endpoints, func(e network.Endpoint) bool { return !e.Network.Internal }) {
		return nil
	}
	if len(m.DNS.Servers) > 0 {
		return names.Servers(m.DNS.Servers, func(ctx context.Context, proto, address string) (net.Conn, error) {
			return h.dialIn(ctx, m, proto, address)
		})
	}
	return h.outside
}

// dialIn dials from the namespace of a container.
func (h *Holder) dialIn(ctx context.Context, m *member, proto, address string) (c net.Conn, err error) {
	h.mu.RLock()
	ns := m.ns
	if ns == nil {
		h.mu.RUnlock()
		return nil, errors.New("the container has ended")
	}
	in, err := link.Open(ns)
	h.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	err = in.Do(func() (err error) {
		c, err = (&net.Dialer{}).DialContext(ctx, proto, address)
		return err
	})
	return c, err
}
