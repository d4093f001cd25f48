package uplink

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
)

// Drivers, the values of Config.Driver.
const (
	Builtin = "builtin" // the network stack in this process
	Pasta   = "pasta"   // the program of that name
)

// Interface is the name that the uplink has in the namespace.
const Interface = "uplink0"

// MTU is the greatest packet that goes through the uplink, and what bridges
// before it should have: the most that leaves room for a link's header in 64 KB,
// as virtual machines and slirp4netns have it.
const MTU = 65520

// Space is a network namespace in which functions can be run: *link.Space.
type Space interface {
	// Do calls f on a thread that is in the namespace.
	Do(f func() error) error
}

// Config says what is to be connected, and how.
type Config struct {
	Space     Space
	Namespace *os.File       // the same namespace, for a program that enters it
	Driver    string         // empty: pasta if it is installed and works, else builtin
	MTU       int            // 0: MTU
	Subnets   []netip.Prefix // whose packets may go out, see Allow
}

// Uplink is a connection of a namespace with the network of the process.
type Uplink struct {
	config Config
	host   hostAddresses

	mu       sync.Mutex
	allowed  []netip.Prefix
	stack    *netstack // one of the two
	pasta    *pasta
	warnings []string
	closed   bool
}

// Start makes the uplink's interface in the namespace, with addresses and the
// default routes, and begins to forward. The caller closes the uplink; when the
// process ends without, the interface ends with it.
func Start(c Config) (*Uplink, error) {
	if c.MTU == 0 {
		c.MTU = MTU
	}
	u := &Uplink{config: c}
	u.Allow(c.Subnets)
	switch c.Driver {
	case "", Pasta:
		err := u.startPasta()
		if err == nil {
			return u, nil
		}
		if c.Driver == Pasta {
			u.warnings = append(u.warnings, fmt.Sprintf("pasta cannot be used (%v): containers reach the network through berth's own stack", err))
		}
	case Builtin:
	default:
		return nil, fmt.Errorf("unknown uplink %q: it is %s or %s", c.Driver, Builtin, Pasta)
	}
	if err := u.startStack(); err != nil {
		return nil, err
	}
	return u, nil
}

func (u *Uplink) startStack() error {
	d, err := openDevice(u.config.Space, u.config.MTU)
	if err != nil {
		return err
	}
	s, err := newNetstack(u, d, u.config.MTU)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		s.Close()
		return os.ErrClosed
	}
	u.stack = s
	if sentence := pingLimit(); sentence != "" {
		u.warnings = append(u.warnings, sentence)
	}
	return nil
}

// Driver is what does the work: Builtin or Pasta.
func (u *Uplink) Driver() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pasta != nil {
		return Pasta
	}
	return Builtin
}

// Host are the addresses that mean the host to containers: a service of the host
// that listens on all addresses, or on the one the host is known by, answers
// there; one that listens on loopback only does not.
func (u *Uplink) Host() []netip.Addr {
	if u.Driver() == Pasta {
		return u.host.all()
	}
	return []netip.Addr{hostIPv4(), hostIPv6()}
}

// Masquerade says whether packets must have the address of the interface when
// they go out: pasta knows one address in the namespace. The stack needs no such
// rule, and can then tell the containers' networks apart.
func (u *Uplink) Masquerade() bool { return u.Driver() == Pasta }

// Allow says whose packets may go out, in place of what was said before. It is a
// second guard of internal networks, behind the namespace's own rules: what has
// another address is dropped. The interface's own addresses are always allowed.
func (u *Uplink) Allow(subnets []netip.Prefix) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.allowed = append([]netip.Prefix{netip.PrefixFrom(ownIPv4(), 32), netip.PrefixFrom(ownIPv6(), 128)}, subnets...)
	if u.stack != nil {
		u.stack.allow(u.allowed)
	}
}

// Warnings are sentences on what does not work here, each with its remedy.
func (u *Uplink) Warnings() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.warnings
}

// Close ends all connections and removes the interface.
func (u *Uplink) Close() error {
	u.mu.Lock()
	u.closed = true
	s, p := u.stack, u.pasta
	u.mu.Unlock()
	if p != nil {
		p.Close()
	}
	if s != nil {
		s.Close()
	}
	return nil
}
