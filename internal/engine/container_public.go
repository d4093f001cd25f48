package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"

	"berth/internal/host"
	"berth/internal/listeners"
	"berth/internal/network"
	"berth/internal/published"
	"berth/internal/roster"
)

// Public is what everybody on the machine may know of a container that runs.
type Public struct {
	Owner string // the account's name
	published.Entry
	Summary []container.PortSummary
}

// AllUsers lists the containers of all accounts that publish them, by owner and
// the newest first.
func (e *Engine) AllUsers() []Public {
	names := map[int]string{}
	var out []Public
	for _, l := range published.Open().List() {
		if _, ok := names[l.UID]; !ok {
			names[l.UID] = host.AccountName(l.UID)
		}
		p := Public{Owner: names[l.UID], Entry: l.Entry}
		for _, port := range l.Ports {
			p.Summary = append(p.Summary, container.PortSummary{IP: netip.IPv4Unspecified(), PrivatePort: port.Inside, PublicPort: port.Public, Type: port.Proto})
		}
		out = append(out, p)
	}
	slices.SortStableFunc(out, func(a, b Public) int {
		if a.Owner != b.Owner {
			return strings.Compare(a.Owner, b.Owner)
		}
		return b.Since.Compare(a.Since)
	})
	return out
}

// public is what a container shows to others, got being what it has of its
// networks; nil: nothing.
func (e *Engine) public(r *record, got *network.Settings) *published.Entry {
	if e.config.Private {
		return nil
	}
	p := &published.Entry{V: 1, ID: r.ID, Name: r.Name, Image: r.Image}
	for _, port := range roster.HostPorts(r, got) {
		to := published.Port{Proto: port.Proto, Public: port.HostPort, Inside: port.Inside}
		// The same port of several addresses is one to others.
		if len(p.Ports) < published.MaxPorts && !slices.Contains(p.Ports, to) {
			p.Ports = append(p.Ports, to)
		}
	}
	return p
}

// portsFree refuses a container whose published ports are taken: its program
// could not listen there, and would say so in words of its own, or not at all.
func (e *Engine) portsFree(r *record) error {
	if r.HostConfig.NetworkMode != "default" || len(r.HostConfig.PortBindings) == 0 {
		return nil
	}
	list := listeners.List()
	for p, bindings := range r.HostConfig.PortBindings {
		for _, b := range bindings {
			l, taken := listeners.Find(list, string(p.Proto()), b.HostIP, p.Num())
			if !taken {
				continue
			}
			asked := b.HostIP
			if !asked.IsValid() {
				asked = netip.IPv4Unspecified() // Docker's word for all addresses
			}
			text := fmt.Sprintf("Bind for %s failed: port is already allocated: %s listens there", netip.AddrPortFrom(asked, p.Num()), e.holder(l))
			if free := listeners.Free(list, l.Proto, p.Num()); free != 0 {
				text += fmt.Sprintf("; %[1]d is free: use -p %[1]d:%[1]d and let the program listen on %[1]d", free)
			}
			return &Error{Kind: ErrConflict, Text: text}
		}
	}
	return nil
}

// holder names who listens on a port: the account, and its container if that
// has told.
func (e *Engine) holder(l listeners.Listener) string {
	name := host.AccountName(l.UID)
	for _, p := range published.Open().List() {
		for _, port := range p.Ports {
			if p.UID == l.UID && port.Proto == l.Proto && port.Public == l.Port {
				return fmt.Sprintf("%s's container %s", name, p.Name)
			}
		}
	}
	return name
}
