// Package uplink connects a network namespace that has no way out with the
// network of the process: what an ordinary account's containers need, because
// their bridges are in a namespace of the account's, and only root could join
// that to the host's interfaces.
//
// In the namespace the uplink is one interface with the default routes, see
// device.go. Packets that are sent to it arrive in this process, where a network
// stack in user space (gVisor's) takes them apart: it is the other end of each
// TCP connection and of each flow of datagrams, for which the process opens an
// ordinary socket on the host and copies between the two, see tcp.go, udp.go and
// echo.go. Nothing needs a right on the host, and what containers can reach is
// what the account can reach, less what reach.go forbids: above all the
// services that the host offers to itself only, on its loopback addresses.
//
// The stack is fast enough because packets are big. Interface and bridges have an
// MTU of 65,520 bytes, so that a packet carries 64 KB, and the headers that
// virtual machines use for that (virtio_net_hdr) let both sides leave checksums
// and segmentation away.
//
// Where the program pasta is installed it can do the same work, see pasta.go.
package uplink
