package names

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Member is a container's place in one network.
type Member struct {
	Container string // its ID
	Network   string // the network's ID
	NetName   string // what the network is called
	// Names are what others of the network may call it; the first is what its
	// address is called. None is known on the default network, where only Links
	// lead to others.
	Names   []string
	Addrs   []netip.Addr
	Subnets []netip.Prefix    // of the network
	Links   map[string]string // names that only this container uses, and the container IDs they mean
}

// Directory is who is in which network.
type Directory struct {
	mu    sync.RWMutex
	nets  map[string]*members // by network ID
	seats map[string][]*place // by container ID, in the order of its networks
}

// members are those of one network.
type members struct {
	names map[string][]*place // by name in lower case
	addrs map[netip.Addr]*place
	ids   map[string]*place // by container
}

type place struct {
	Member
	names []string // lower case
}

// NewDirectory returns an empty one.
func NewDirectory() *Directory {
	return &Directory{nets: map[string]*members{}, seats: map[string][]*place{}}
}

// Put adds a container to a network, or changes what is known of it there.
func (d *Directory) Put(m Member) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := slices.IndexFunc(d.seats[m.Container], func(p *place) bool { return p.Network == m.Network })
	d.remove(m.Container, m.Network)
	p := &place{Member: m}
	n := d.nets[m.Network]
	if n == nil {
		n = &members{names: map[string][]*place{}, addrs: map[netip.Addr]*place{}, ids: map[string]*place{}}
		d.nets[m.Network] = n
	}
	for _, name := range m.Names {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if name == "" || slices.Contains(p.names, name) {
			continue
		}
		p.names = append(p.names, name)
		n.names[name] = append(n.names[name], p)
	}
	for _, a := range m.Addrs {
		n.addrs[a] = p
	}
	n.ids[m.Container] = p
	seats := d.seats[m.Container]
	if at < 0 {
		at = len(seats)
	}
	d.seats[m.Container] = slices.Insert(seats, at, p)
}

// Remove takes a container out of a network.
func (d *Directory) Remove(container, network string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(container, network)
}

// RemoveAll takes a container out of all of its networks.
func (d *Directory) RemoveAll(container string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.seats[container]) > 0 {
		d.remove(container, d.seats[container][0].Network)
	}
}

func (d *Directory) remove(container, network string) {
	n := d.nets[network]
	if n == nil || n.ids[container] == nil {
		return
	}
	p := n.ids[container]
	for _, name := range p.names {
		n.names[name] = slices.DeleteFunc(n.names[name], func(o *place) bool { return o == p })
		if len(n.names[name]) == 0 {
			delete(n.names, name)
		}
	}
	for _, a := range p.Addrs {
		if n.addrs[a] == p {
			delete(n.addrs, a)
		}
	}
	delete(n.ids, container)
	if len(n.ids) == 0 {
		delete(d.nets, network)
	}
	d.seats[container] = slices.DeleteFunc(d.seats[container], func(o *place) bool { return o == p })
	if len(d.seats[container]) == 0 {
		delete(d.seats, container)
	}
}

// Of returns what a container sees. host are the addresses under which it
// reaches the host: it finds them as host.docker.internal.
func (d *Directory) Of(container string, host []netip.Addr) View {
	return view{d, container, host}
}

type view struct {
	d         *Directory
	container string
	host      []netip.Addr
}

// HostNames are what containers may call the host: Docker's and Podman's names.
func HostNames() []string { return []string{"host.docker.internal", "host.containers.internal"} }

// Addresses looks in one of the container's networks after the other; links go
// before names, and a name may have the network's behind it.
func (v view) Addresses(name string) ([]netip.Addr, bool) {
	v.d.mu.RLock()
	defer v.d.mu.RUnlock()
	for _, seat := range v.d.seats[v.container] {
		n := v.d.nets[seat.Network]
		short, qualified := strings.CutSuffix(name, "."+strings.ToLower(seat.NetName))
		if addrs := n.find(seat, name); addrs != nil {
			return addrs, true
		}
		if qualified {
			if addrs := n.find(seat, short); addrs != nil {
				return addrs, true
			}
		}
	}
	if len(v.host) > 0 && slices.Contains(HostNames(), name) {
		return v.host, true
	}
	return nil, false
}

// find returns the addresses of a name in a network, as the container of a seat
// there means it.
func (n *members) find(seat *place, name string) []netip.Addr {
	for alias, id := range seat.Links {
		if p := n.ids[id]; p != nil && strings.EqualFold(alias, name) {
			return p.Addrs
		}
	}
	var addrs []netip.Addr
	for _, p := range n.names[name] {
		addrs = append(addrs, p.Addrs...)
	}
	return addrs
}

// Name returns the first name of the container that has the address in one of the
// networks, with the network's name behind it, as Docker does.
func (v view) Name(a netip.Addr) (string, bool) {
	v.d.mu.RLock()
	defer v.d.mu.RUnlock()
	known := false
	for _, seat := range v.d.seats[v.container] {
		if p := v.d.nets[seat.Network].addrs[a]; p != nil && len(p.Names) > 0 {
			return strings.TrimSuffix(p.Names[0], ".") + "." + p.NetName, true
		}
		known = known || slices.ContainsFunc(seat.Subnets, func(s netip.Prefix) bool { return s.Contains(a) })
	}
	return "", known
}
