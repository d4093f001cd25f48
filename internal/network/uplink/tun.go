package uplink

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// tun is a tun device.
type tun struct{ *descriptor }

// openTun makes the interface as a tun device, in the namespace that the thread
// is in.
func openTun() (device, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(Interface)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(fmt.Errorf("/dev/net/tun: interface %s: %w", Interface, err), unix.Close(fd))
	}
	// With this the kernel hands over packets without checksum, and as big ones
	// what was to be segmented. If it cannot it does the work itself.
	_ = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6)
	d, err := newDescriptor(fd, "tun")
	if err != nil {
		return nil, err
	}
	return tun{d}, nil
}

func (t tun) Read(h *[virtioLen]byte, b []byte) (n int, err error) {
	var result error
	err = t.raw.Read(func(fd uintptr) bool {
		for {
			n, result = unix.Readv(int(fd), [][]byte{h[:], b})
			if result != unix.EINTR {
				return result != unix.EAGAIN
			}
		}
	})
	if err == nil {
		err = result
	}
	if err != nil {
		return 0, err
	}
	return max(0, n-virtioLen), nil
}
