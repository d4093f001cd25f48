package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"berth/internal/network/link"

	"github.com/google/nftables"
	mdl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Table is the rules of a holder. Its methods may be called from any goroutine.
type Table struct {
	space *link.Space
	mu    sync.Mutex
	conn  *nftables.Conn
	table *nftables.Table

	forward, source *nftables.Chain
	ports           map[key]*nftables.Set // the maps of published ports
	networks        []Network
	track           *netlink.Handle // of connections; nil until needed

	said   []string        // warnings that nobody has asked for yet
	warned map[string]bool // the chains and bridges that a warning was about
}

// Network is what the rules have to know of a network.
type Network struct {
	Interface  string // the bridge
	Subnets    []netip.Prefix
	Internal   bool // no way out, nor in
	Masquerade bool // containers go out under the host's address
	ICC        bool // containers of the network reach each other
}

// Open makes the table name in the namespace. It fails where the kernel has no
// nf_tables, and where another process has a table of this name.
func Open(s *link.Space, name string) (*Table, error) {
	t := &Table{space: s, table: &nftables.Table{Name: name, Family: nftables.TableFamilyINet}}
	err := s.Do(func() (err error) {
		t.conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *mdl.Conn) error {
			return claim(c, name)
		}))
		return err
	})
	if err != nil {
		return nil, explain(err)
	}
	t.chains()
	err = t.flush()
	if err == nil {
		err = t.leaveOthers() // those of a holder that was killed
	}
	if err != nil {
		t.conn.CloseLasting()
		return nil, explain(err)
	}
	return t, nil
}

// Close takes the rules back. Forwarding that was switched on for containers is
// switched off again, if nothing else has come to need it; so the bridges are
// removed before.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	others, back := t.leaveOthers(), t.stopForwarding()
	t.conn.DelTable(t.table)
	err := t.flush()
	t.conn.CloseLasting()
	if t.track != nil {
		t.track.Close()
	}
	return errors.Join(others, back, err)
}

// AddNetwork adds the rules of a network, or changes them.
func (t *Table) AddNetwork(n Network) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := slices.Clone(t.networks)
	t.forget(n.Interface)
	t.networks = append(t.networks, n)
	if err := t.write(); err != nil {
		t.networks = old
		return fmt.Errorf("rules of bridge %s: %w", n.Interface, err)
	}
	return nil
}

// RemoveNetwork removes the rules of a network; of one that has none it is no
// error.
func (t *Table) RemoveNetwork(iface string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(iface)
	if err := errors.Join(t.write(), t.leaveOthers(iface)); err != nil {
		return fmt.Errorf("rules of bridge %s: %w", iface, err)
	}
	return nil
}

func (t *Table) forget(iface string) {
	t.networks = slices.DeleteFunc(t.networks, func(n Network) bool { return n.Interface == iface })
}

// flush sends what has been queued as one transaction: all of it or nothing.
func (t *Table) flush() error {
	return t.conn.Flush()
}

// claim makes the table on a socket, which then owns it.
func claim(c *mdl.Conn, name string) error {
	const owner = 2 // NFT_TABLE_F_OWNER of linux/netfilter/nf_tables.h, Linux 5.12
	err := create(c, name, owner)
	if errors.Is(err, unix.EEXIST) {
		// Left by a holder on a kernel without owners.
		if err := send(c, unix.NFT_MSG_DELTABLE, 0, tableName(name)); err != nil {
			return fmt.Errorf("remove the table %s: %w", name, err)
		}
		err = create(c, name, owner)
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("another process has the table %s, or CAP_NET_ADMIN is missing: %w", name, err)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		send(c, unix.NFT_MSG_DELTABLE, 0, tableName(name)) // there may be none
		err = create(c, name, 0)
	}
	return err
}

func create(c *mdl.Conn, name string, flags byte) error {
	return send(c, unix.NFT_MSG_NEWTABLE, mdl.Create|mdl.Excl, append(tableName(name),
		mdl.Attribute{Type: unix.NFTA_TABLE_FLAGS, Data: []byte{0, 0, 0, flags}}))
}

func tableName(name string) []mdl.Attribute {
	return []mdl.Attribute{{Type: unix.NFTA_TABLE_NAME, Data: []byte(name + "\x00")}}
}

// send has one message as a transaction, which the library has no words for: it
// makes no tables with flags.
func send(c *mdl.Conn, kind mdl.HeaderType, flags mdl.HeaderFlags, attrs []mdl.Attribute) error {
	data, err := mdl.MarshalAttributes(attrs)
	if err != nil {
		return err
	}
	// struct nfgenmsg: family, version, and for a batch the subsystem it is for.
	batch := []byte{0, 0, 0, unix.NFNL_SUBSYS_NFTABLES}
	_, err = c.SendMessages([]mdl.Message{
		{Header: mdl.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: mdl.Request}, Data: batch},
		{
			Header: mdl.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | kind, Flags: mdl.Request | mdl.Acknowledge | flags},
			Data:   append([]byte{unix.NFPROTO_INET, 0, 0, 0}, data...),
		},
		{Header: mdl.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: mdl.Request}, Data: batch},
	})
	if err != nil {
		return err
	}
	_, err = c.Receive()
	return err
}

// explain says what a kernel lacks.
func explain(err error) error {
	for _, missing := range []error{unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.EINVAL, unix.ENOENT, unix.EAFNOSUPPORT} {
		if errors.Is(err, missing) {
			return fmt.Errorf("this kernel lacks nf_tables or a part of it (CONFIG_NF_TABLES_INET, NFT_NAT, NFT_MASQ, NFT_CT, NFT_FIB_INET; try modprobe nf_tables); --network host works: %w", err)
		}
	}
	return fmt.Errorf("nftables: %w", err)
}
