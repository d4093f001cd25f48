package networks

import (
	"bufio"
	"encoding/hex"
	"io"
	"math/bits"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// hostPrefixes are the addresses that this host reaches somewhere, which no new
// network should take from it: its routes, and its resolvers. Routes to half of
// the world and more (a tunnel's 0.0.0.0/1) say only where everything else goes.
func hostPrefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, f := range []struct {
		path string
		read func(io.Reader) []netip.Prefix
	}{
		{"/proc/net/route", routes4}, {"/proc/net/ipv6_route", routes6}, {"/etc/resolv.conf", resolvers},
	} {
		if file, err := os.Open(f.path); err == nil {
			out = append(out, f.read(file)...)
			file.Close()
		}
	}
	return out
}

// leastBits is how long a route's prefix has to be to be about some place.
const leastBits = 8

// routes4 reads /proc/net/route: fields apart by tabs, the second the
// destination and the eighth the mask, as the kernel's words in hexadecimal
// digits, in the order of this machine (little endian on all that berth knows).
func routes4(r io.Reader) (out []netip.Prefix) {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) < 8 {
			continue
		}
		dest, err1 := strconv.ParseUint(f[1], 16, 32)
		mask, err2 := strconv.ParseUint(f[7], 16, 32)
		n := bits.OnesCount32(uint32(mask))
		if err1 != nil || err2 != nil || n < leastBits {
			continue
		}
		a := netip.AddrFrom4([4]byte{byte(dest), byte(dest >> 8), byte(dest >> 16), byte(dest >> 24)})
		out = append(out, netip.PrefixFrom(a, n).Masked())
	}
	return out
}

// routes6 reads /proc/net/ipv6_route: destination and length of its prefix come
// first; the last field is the interface. What stays within the machine or the
// link, multicast and link-local, is no network's.
func routes6(r io.Reader) (out []netip.Prefix) {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) < 10 || f[9] == "lo" {
			continue
		}
		b, err1 := hex.DecodeString(f[0])
		n, err2 := strconv.ParseUint(f[1], 16, 8)
		a, ok := netip.AddrFromSlice(b)
		if err1 != nil || err2 != nil || !ok || n < leastBits || n > 128 || a.IsMulticast() || a.IsLinkLocalUnicast() {
			continue
		}
		out = append(out, netip.PrefixFrom(a, int(n)).Masked())
	}
	return out
}

// resolvers reads the servers of /etc/resolv.conf (resolv.conf(5)).
func resolvers(r io.Reader) (out []netip.Prefix) {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && !a.IsLoopback() {
			out = append(out, netip.PrefixFrom(a.WithZone(""), a.BitLen()))
		}
	}
	return out
}
