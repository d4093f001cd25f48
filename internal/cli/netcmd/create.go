// Package netcmd is the verbs of `network`, and their options, as Docker has them.
//
// They are cobra commands like those of package cli, which lends them what all
// commands use (a [Face]) and names them in its table.
package netcmd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"berth/internal/cli/opts"
	"berth/internal/engine"
	"berth/internal/network"
	"berth/internal/networks"
)

// Face is what the program's commands share.
type Face struct {
	Stdout  *os.File
	Open    func() (*engine.Engine, error)
	Print   func(line string) error
	Warn    func(line string)
	Confirm func(warning string) bool
	// EachOf does something for each name and prints what went wrong.
	EachOf func(names []string, do func(name string) error) error
	// Refuse answers with an error for the first option given that berth lacks.
	Refuse func(f *pflag.FlagSet, names ...string) error
	// FormatFlag declares --format of a list, with its default.
	FormatFlag func(f *pflag.FlagSet) *string
	ListFormat func() string // of the user's settings
	Words      func(least, most int) cobra.PositionalArgs
}

// Create is network create.
func (a Face) Create() *cobra.Command {
	c := &cobra.Command{Use: "create [OPTIONS] NETWORK", Args: a.Words(1, 1)}
	f := c.Flags()
	req := networks.Request{}
	labels, options, aux, ipamOpts := opts.NewList("list", opts.Label), opts.NewList("map", nil), opts.NewList("map", nil), opts.NewList("map", nil)
	f.StringVarP(&req.Driver, "driver", "d", network.Bridge, "Driver to manage the Network")
	f.VarP(options, "opt", "o", "Set driver specific options")
	f.Var(labels, "label", "Set metadata on a network")
	f.BoolVar(&req.Internal, "internal", false, "Restrict external access to the network")
	f.BoolVar(&req.IPv6, "ipv6", false, "Enable or disable IPv6 address assignment")
	ipv4 := f.Bool("ipv4", true, "Enable or disable IPv4 address assignment")
	f.Bool("attachable", false, "Enable manual container attachment")
	subnets := f.StringSlice("subnet", nil, "Subnet in CIDR format that represents a network segment")
	ranges := f.StringSlice("ip-range", nil, "Allocate container ip from a sub-range")
	gateways := f.StringSlice("gateway", nil, "IPv4 or IPv6 Gateway for the master subnet")
	f.Var(aux, "aux-address", "Auxiliary IPv4 or IPv6 addresses used by Network driver")
	ipam := f.String("ipam-driver", "default", "IP Address Management Driver")
	f.Var(ipamOpts, "ipam-opt", "Set IPAM driver specific options")
	f.String("scope", "", "Control the network's scope")
	f.Bool("ingress", false, "Create swarm routing-mesh network")
	f.Bool("config-only", false, "Create a configuration only network")
	f.String("config-from", "", "The network from which to copy the configuration")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := a.Refuse(f, "ingress", "config-only", "config-from", "ipam-opt"); err != nil {
			return err
		}
		if scope := f.Lookup("scope").Value.String(); scope != "" && scope != "local" {
			return opts.NotSupported("--scope " + scope)
		}
		if *ipam != "default" && *ipam != "" {
			return opts.NotSupported("--ipam-driver " + *ipam)
		}
		var err error
		if req.Subnets, err = consolidate(*subnets, *ranges, *gateways, opts.Map(aux.Values())); err != nil {
			return err
		}
		req.Name, req.NoIPv4, req.Options, req.Labels = args[0], !*ipv4, opts.Map(options.Values()), opts.Map(labels.Values())
		return a.create(c.Context(), req)
	}
	return c
}

func (a Face) create(ctx context.Context, req networks.Request) error {
	e, err := a.Open()
	if err != nil {
		return err
	}
	n, warnings, err := e.Networks().Create(ctx, req)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		a.Warn(w)
	}
	return a.Print(n.ID)
}

// consolidate puts ranges, gateways and auxiliary addresses to the subnets that
// they belong to.
func consolidate(subnets, ranges, gateways []string, aux map[string]string) ([]network.Subnet, error) {
	if len(subnets) < len(ranges) || len(subnets) < len(gateways) {
		return nil, errors.New("every ip-range or gateway must have a corresponding subnet")
	}
	var out []network.Subnet
	for _, text := range subnets {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("invalid subnet %s: invalid CIDR block notation", text)
		}
		for _, s := range out {
			if s.Prefix.Overlaps(p) {
				return nil, errors.New("multiple overlapping subnet configuration is not supported")
			}
		}
		out = append(out, network.Subnet{Prefix: p})
	}
	for _, text := range ranges {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("invalid ip-range %s: invalid CIDR block notation", text)
		}
		s := within(out, p.Addr())
		switch {
		case s == nil:
			return nil, fmt.Errorf("no matching subnet for range %s", text)
		case s.Range.IsValid():
			return nil, fmt.Errorf("cannot configure multiple ranges (%s, %s) on the same subnet (%s)", text, s.Range, s.Prefix)
		}
		s.Range = p
	}
	for _, text := range gateways {
		g, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("invalid gateway %s: invalid address", text)
		}
		s := within(out, g)
		switch {
		case s == nil:
			return nil, fmt.Errorf("no matching subnet for gateway %s", text)
		case s.Gateway.IsValid():
			return nil, fmt.Errorf("cannot configure multiple gateways (%s, %s) for the same subnet (%s)", text, s.Gateway, s.Prefix)
		}
		s.Gateway = g
	}
	return out, addAux(out, aux)
}

func addAux(subnets []network.Subnet, aux map[string]string) error {
	for name, text := range aux {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("invalid auxiliary address %s: invalid address %s", name, text)
		}
		s := within(subnets, a)
		if s == nil {
			return fmt.Errorf("no matching subnet for aux-address %s", text)
		}
		if s.Aux == nil {
			s.Aux = map[string]netip.Addr{}
		}
		s.Aux[name] = a
	}
	return nil
}

// within returns the subnet that an address is in; nil: it is in none.
func within(subnets []network.Subnet, a netip.Addr) *network.Subnet {
	for i := range subnets {
		if subnets[i].Prefix.Contains(a) {
			return &subnets[i]
		}
	}
	return nil
}

// Connect is network connect.
func (a Face) Connect() *cobra.Command {
	c := &cobra.Command{Use: "connect [OPTIONS] NETWORK CONTAINER", Args: a.Words(2, 2)}
	f := c.Flags()
	var ep opts.Endpoint
	links := opts.NewList("list", nil)
	f.StringSliceVar(&ep.Aliases, "alias", nil, "Add network-scoped alias for the container")
	options := f.StringSlice("driver-opt", nil, "driver options for the network")
	f.IntVar(&ep.GwPriority, "gw-priority", 0, "Highest gw-priority provides the default gateway. Accepts positive and negative values.")
	f.StringVar(&ep.IP, "ip", "", `IPv4 address (e.g., "172.30.100.104")`)
	f.StringVar(&ep.IP6, "ip6", "", `IPv6 address (e.g., "2001:db8::33")`)
	f.Var(links, "link", "Add link to another container")
	f.StringSliceVar(&ep.LinkLocal, "link-local-ip", nil, "Add a link-local address for the container")
	c.RunE = func(c *cobra.Command, args []string) error {
		for _, o := range *options {
			if key, _, ok := strings.Cut(o, "="); !ok || key == "" {
				return errors.New("invalid key/value pair format in driver options")
			}
		}
		ep.Links, ep.DriverOpts = links.Values(), opts.Map(*options)
		settings, err := ep.Settings()
		if err != nil {
			return err
		}
		e, err := a.Open()
		if err != nil {
			return err
		}
		warnings, err := e.Networks().Connect(c.Context(), args[0], args[1], settings)
		for _, w := range warnings {
			a.Warn(w)
		}
		return err
	}
	return c
}

// Disconnect is network disconnect.
func (a Face) Disconnect() *cobra.Command {
	c := &cobra.Command{Use: "disconnect [OPTIONS] NETWORK CONTAINER", Args: a.Words(2, 2)}
	force := c.Flags().BoolP("force", "f", false, "Force the container to disconnect from a network")
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.Open()
		if err != nil {
			return err
		}
		return e.Networks().Disconnect(c.Context(), args[0], args[1], *force)
	}
	return c
}
