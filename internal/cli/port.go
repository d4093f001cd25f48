package cli

import (
	"fmt"
	"maps"
	"net"
	"slices"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"
)

// portCommand is port.
func (a *app) portCommand() *cobra.Command {
	c := &cobra.Command{Use: "port CONTAINER [PRIVATE_PORT[/PROTO]]", Args: between(1, 2)}
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		info, err := e.ContainerInspect(c.Context(), args[0])
		if err != nil {
			return err
		}
		ports := info.NetworkSettings.Ports
		if len(args) == 2 {
			return a.onePort(args[0], args[1], ports)
		}
		for _, p := range slices.SortedFunc(maps.Keys(ports), comparePorts) {
			for _, b := range ports[p] {
				if err := a.println(fmt.Sprintf("%s -> %s", p, bindingText(b))); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return c
}

func (a *app) onePort(name, port string, ports network.PortMap) error {
	p, err := network.ParsePort(port)
	if err != nil {
		return err
	}
	bindings := ports[p]
	if len(bindings) == 0 {
		return fmt.Errorf("no public port '%s' published for %s", p, name)
	}
	for _, b := range bindings {
		if err := a.println(bindingText(b)); err != nil {
			return err
		}
	}
	return nil
}

func comparePorts(x, y network.Port) int {
	if x.Num() != y.Num() {
		return int(x.Num()) - int(y.Num())
	}
	return len(x.Proto()) - len(y.Proto())
}

// bindingText is ADDRESS:PORT. No address means all of them.
func bindingText(b network.PortBinding) string {
	host := "0.0.0.0"
	if b.HostIP.IsValid() {
		host = b.HostIP.String()
	}
	return net.JoinHostPort(host, b.HostPort)
}
