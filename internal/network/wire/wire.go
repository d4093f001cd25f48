// Package wire is what a holder of networks and its clients say to each other:
// one message of JSON in a datagram of a SOCK_SEQPACKET socket, with descriptors
// beside it where the message says so. A client asks, the holder answers, in
// turns.
//
// The connection over which a container joined is its lease: the command that
// starts the container hands it to the shim, and when it closes, by whatever
// death, the holder takes back what it gave.
package wire

import "berth/internal/network"

// Request is what a client asks; one of the fields is set.
type Request struct {
	V          int         `json:"v"`
	Join       *Join       `json:"join,omitempty"`
	Attach     *Attach     `json:"attach,omitempty"`
	Adopt      *Join       `json:"adopt,omitempty"`
	Connect    *Connect    `json:"connect,omitempty"`
	Disconnect *Disconnect `json:"disconnect,omitempty"`
	Rename     *Rename     `json:"rename,omitempty"`
	Drop       *Drop       `json:"drop,omitempty"`
}

// Join reserves addresses and ports for a container that is about to start. The
// answer has the settings, which the holder has also written to network.json in
// the container's folder, and carries the descriptors of the holder's user
// namespace and network namespace, in this order, where it has its own.
//
// As Adopt it is what a shim tells a new holder: Settled is what the container
// had, and the descriptor of the container's network namespace comes with it.
type Join struct {
	ID        string             `json:"id"`
	Name      string             `json:"name"`
	Hostname  string             `json:"hostname"`
	Endpoints []network.Endpoint `json:"endpoints"`
	Ports     []network.Port     `json:"ports,omitempty"`
	DNS       network.Resolver   `json:"dns"`
	Settled   *network.Settings  `json:"settled,omitempty"`
}

// Attach has the interfaces made: the descriptor of the container's network
// namespace comes with it. A container that is started again sends it again over
// the same connection, with its new namespace.
type Attach struct{}

// Connect and Disconnect change a container that runs. They are sent by commands
// over a connection of their own, under the container's lock.
type Connect struct {
	ID       string           `json:"id"`
	Endpoint network.Endpoint `json:"endpoint"`
}

// Disconnect takes a container out of a network.
type Disconnect struct {
	ID        string `json:"id"`
	NetworkID string `json:"networkID"`
}

// Rename gives a running container another name.
type Rename struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Drop removes what the host has of a network that is removed: its bridge.
type Drop struct {
	NetworkID string `json:"networkID"`
	Interface string `json:"interface"`
}

// Response answers a request.
type Response struct {
	V     int    `json:"v"`
	Error string `json:"error,omitempty"` // the whole line, for the user
	Kind  string `json:"kind,omitempty"`  // of errdef: conflict, invalid, not found …; empty: other
	// Taken is set beside Error where a port is taken. Whose it is the client can
	// tell better: the kernel tells a holder in a user namespace no accounts outside.
	Taken    *network.TakenError `json:"taken,omitempty"`
	Settings *network.Settings   `json:"settings,omitempty"`
	Warnings []string            `json:"warnings,omitempty"`
	Files    int                 `json:"files,omitempty"` // descriptors that come with it
}
