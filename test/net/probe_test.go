package nettest

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain is the tests, and in containers and on the hosts what they look with.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "serve":
			if err := serve(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			select {}
		case "call":
			calls(os.Args[2:])
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// serve answers on port 80 of both protocols and families with the caller's
// address.
func serve() error {
	tcp, err := net.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", ":80")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap())
			c.Close()
		}
	}()
	go func() {
		b := make([]byte, 1)
		for {
			_, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			udp.WriteTo([]byte(from.(*net.UDPAddr).AddrPort().Addr().Unmap().String()), from)
		}
	}()
	return nil
}

// calls asks at addresses such as tcp/10.0.0.1:80, all at once, and prints each
// with its answer, which is empty if nobody gave one.
func calls(addrs []string) {
	var wait sync.WaitGroup
	answers := make([]string, len(addrs))
	for i, a := range addrs {
		wait.Add(1)
		go func() {
			defer wait.Done()
			proto, addr, _ := strings.Cut(a, "/")
			for range 4 { // a datagram may be lost
				if answers[i] = call(proto, addr); answers[i] != "" {
					return
				}
			}
		}()
	}
	wait.Wait()
	for i, a := range addrs {
		fmt.Printf("%s %s\n", a, answers[i])
	}
}

func call(proto, addr string) string {
	const patience = time.Second
	c, err := net.DialTimeout(proto, addr, patience)
	if err != nil {
		return ""
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if proto == "tcp" {
		b, _ := io.ReadAll(c)
		return string(b)
	}
	c.Write([]byte("?"))
	b := make([]byte, 64)
	n, _ := c.Read(b)
	return string(b[:n])
}
