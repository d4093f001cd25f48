package holder

import (
	"os"
	"sync"
	"time"

	"berth/internal/network"
	"berth/internal/network/firewall"
	"berth/internal/network/ipam"
	"berth/internal/network/link"
	"berth/internal/network/names"
	"berth/internal/network/ports"
	"berth/internal/network/uplink"
	"berth/internal/network/wire"
	"berth/internal/state"
)

// Holder is what the process knows. Nothing of it is on disk but what containers
// have, in their folders.
type Holder struct {
	dir     *state.Dir
	account bool
	space   *link.Space
	ns      *os.File // of space and of ourselves; nil for root, whose are the host's
	user    *os.File
	idle    *time.Timer
	ports   *ports.Host
	clear   *ports.Transparent // how clients of an account's containers reach them
	names   *names.Directory
	outside *names.Upstream // who knows the names that no container has

	// making is held while bridges and rules are made or removed, and guards what
	// follows.
	making sync.Mutex
	table  *firewall.Table // made with the first bridge
	uplink *uplink.Uplink  // an account's; made with the first network that has a way out

	mu       sync.RWMutex // guards what follows
	clients  int
	networks map[string]*live   // by ID
	members  map[string]*member // by the container's ID
	kept     map[string]*keep   // what running containers had from the holder before
}

// live is a network that somebody is in.
type live struct {
	network.Network
	book *ipam.Book
	uses int  // endpoints
	up   bool // its bridge is there; guarded by making
}

// member is a container that has a lease.
type member struct {
	wire.Join
	conn     *wire.Conn // its lease
	settings network.Settings
	public   *ports.Published

	// While it runs:
	ns    *os.File // its network namespace
	mute  func()   // ends its server of names
	rules []firewall.Rule
}

// keep is what a running container had from the holder before, until it says so
// itself.
type keep struct{ network.Settings }

func newHolder(dir *state.Dir, account bool) *Holder {
	h := &Holder{
		dir: dir, account: account, ports: ports.NewHost(nil, !account),
		names: names.NewDirectory(), outside: names.Host(resolvConf),
		networks: map[string]*live{}, members: map[string]*member{}, kept: map[string]*keep{},
	}
	h.clear = ports.NewTransparent(func(f func() error) error { return h.space.Do(f) })
	return h
}

// come and leave count clients; the holder ends some time after the last.
func (h *Holder) come() {
	h.mu.Lock()
	h.clients++
	h.mu.Unlock()
	h.idle.Stop()
}

func (h *Holder) leave() {
	h.mu.Lock()
	h.clients--
	last := h.clients == 0
	h.mu.Unlock()
	if last {
		h.idle.Reset(linger)
	}
}

// retire reports whether it is time to end, and takes the socket away if so.
func (h *Holder) retire() bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.clients > 0 {
		return false
	}
	os.Remove(h.dir.Path(wire.SocketFile))
	return true
}

// end removes what would stay in the kernel: root's bridges. What is in a
// namespace of our own ends with it.
func (h *Holder) end() {
	h.making.Lock() // for ever
	h.mu.Lock()
	defer h.mu.Unlock()
	os.Remove(h.dir.Path(wire.SocketFile))
	for _, l := range h.networks {
		h.takeDown(l)
	}
	if h.uplink != nil {
		h.uplink.Close()
	}
	if h.table != nil {
		h.table.Close()
	}
}
