package engine

import (
	"cmp"
	"context"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	api "github.com/moby/moby/api/types/network"

	"golang.org/x/sys/unix"

	"berth/internal/network"
	"berth/internal/network/client"
	"berth/internal/network/wire"
	crt "berth/internal/runtime"
	"berth/internal/shim"
	"berth/internal/userns"
)

// holder is how the holder of networks is reached.
func (e *Engine) networkHolder() *client.Client {
	if !e.host.Rootless {
		return client.New(e.dir, nil)
	}
	return client.New(e.dir, e.networkUser)
}

// networkUser is the user namespace of an account's networks: with all ids that
// its containers may have.
func (e *Engine) networkUser() (*os.File, error) {
	if _, err := e.inside.Ranges(); err != nil {
		ns, err := userns.Single(e.host.UID, e.host.GID)
		return ns, idsError(err)
	}
	return e.inside.Namespace()
}

// joinNetworks asks for a container's place in its networks: nil if it is in none
// that the holder makes.
func (e *Engine) joinNetworks(ctx context.Context, r *record, opt StartOptions) (*client.Lease, error) {
	hold, err := e.Networks().Hold()
	if err != nil {
		return nil, err
	}
	defer hold.Unlock()
	ends, err := e.ends(r)
	if err != nil || len(ends) == 0 {
		return nil, err
	}
	j := &wire.Join{
		ID: r.ID, Name: r.Name, Hostname: r.Config.Hostname, Endpoints: ends, Ports: wantedPorts(r),
		DNS: network.Resolver{Servers: r.HostConfig.DNS, Search: r.HostConfig.DNSSearch, Options: r.HostConfig.DNSOptions},
	}
	lease, err := e.networkHolder().Join(ctx, j)
	if err != nil {
		return nil, err
	}
	opt.warn(lease.Warnings)
	return lease, nil
}

// ends is what a container asks of its networks.
func (e *Engine) ends(r *record) ([]network.Endpoint, error) {
	if r.HostConfig.NetworkMode == "default" {
		return nil, nil
	}
	return e.Networks().Endpoints(r)
}

// wantedPorts are the ports that a container publishes, in an order that is the
// same at every start.
func wantedPorts(r *record) (out []network.Port) {
	byPort := func(a, b api.Port) int {
		return cmp.Or(cmp.Compare(a.Num(), b.Num()), strings.Compare(string(a.Proto()), string(b.Proto())))
	}
	for _, p := range slices.SortedFunc(maps.Keys(r.HostConfig.PortBindings), byPort) {
		for _, b := range r.HostConfig.PortBindings[p] {
			w := network.Port{Proto: string(p.Proto()), Inside: p.Num(), HostIP: b.HostIP}
			first, last, _ := strings.Cut(b.HostPort, "-")
			w.HostPort, w.HostEnd = portNumber(first), portNumber(last)
			out = append(out, w)
		}
	}
	if !r.HostConfig.PublishAllPorts {
		return out
	}
	for _, p := range slices.SortedFunc(maps.Keys(r.Config.ExposedPorts), byPort) {
		if len(r.HostConfig.PortBindings[p]) == 0 {
			out = append(out, network.Port{Proto: string(p.Proto()), Inside: p.Num(), Automatic: true})
		}
	}
	return out
}

// portNumber reads a number that was checked when the container was made; none is
// any.
func portNumber(text string) uint16 {
	n, _ := strconv.ParseUint(text, 10, 16)
	return uint16(n)
}

// inNetworks completes what a start is compiled from for a container with a lease.
func inNetworks(c *crt.Config, l *client.Lease) {
	if l == nil {
		return
	}
	c.Lease, c.Ask, c.Answer = true, []byte(wire.AskAttach), []byte(wire.Attached)
	c.HolderNS = l.User != nil && !c.UserNS
}

// lend gives the shim the lease.
func (e *Engine) lend(p *shim.Plan, l *client.Lease) {
	if l != nil {
		p.Network = &shim.Network{Join: *l.Asked, Holder: e.networkHolder().Program()}
		p.Lease = l.Files()
	}
}

func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
