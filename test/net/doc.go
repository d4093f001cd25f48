// Package nettest tests berth's networks on hosts of its own making: network
// namespaces on one cable, where berth runs as root and as an ordinary account,
// beside another host that knows nothing of it. The test program itself is what
// runs in the containers and on the hosts: it answers on a port with the address
// that it sees of the caller, and calls others.
package nettest
