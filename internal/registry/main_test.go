package registry

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"berth/internal/registry/ref"
	"berth/internal/registry/registrytest"
)

// trusted is a certificate for registry.example that this process trusts.
var trusted *registrytest.SelfSigned

// proxyAddr is where requests to proxied.example are sent by the environment.
var proxyAddr string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "registry-test")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if trusted, err = registrytest.NewCert(dir, "registry.example", "127.0.0.1"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		proxyAddr = l.Addr().String()
		l.Close()
		// These are read once in the life of a process.
		os.Setenv("SSL_CERT_FILE", trusted.CertFile)
		os.Setenv("HTTP_PROXY", "http://"+proxyAddr)
		os.Setenv("HTTPS_PROXY", "http://"+proxyAddr)
		os.Setenv("NO_PROXY", "registry.example,unknown.example,insecure.example,storage.example,index.docker.io,registry-1.docker.io")
		os.Setenv("DOCKER_CONFIG", dir)
		return m.Run()
	}())
}

// newClient returns a client with little patience.
func newClient(t *testing.T, opt Options) *Client {
	t.Helper()
	if opt.CertDirs == nil {
		opt.CertDirs = []string{}
	}
	c, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	c.patience = patience{dial: 2 * time.Second, tls: 2 * time.Second, header: 2 * time.Second, blob: 2 * time.Second,
		idle: 300 * time.Millisecond, backoff: 2 * time.Millisecond, longest: time.Second, tries: 4, outage: 300 * time.Millisecond}
	t.Cleanup(c.Close)
	return c
}

// route makes the client reach names at loopback addresses.
func (c *Client) route(to map[string]string) {
	inner := c.dial
	c.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if a := to[addr]; a != "" {
			addr = a
		}
		return inner(ctx, network, addr)
	}
}

func mustRef(t *testing.T, s string) ref.Ref {
	t.Helper()
	r, err := ref.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func contains(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not contain %q", err, p)
		}
	}
	if strings.ContainsAny(err.Error(), "\n\r") {
		t.Errorf("error %q has more than one line", err)
	}
}

// fetch resolves and reads all layers, which verifies them.
func fetch(c *Client, r ref.Ref, platform string) (*Image, error) {
	img, err := c.Resolve(context.Background(), r, platform)
	if err != nil {
		return nil, err
	}
	for _, l := range img.Layers {
		if _, err := readBlob(c, r, l); err != nil {
			return nil, err
		}
	}
	return img, nil
}

func readBlob(c *Client, r ref.Ref, d Descriptor) ([]byte, error) {
	b, err := c.Blob(context.Background(), r, d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(b)
}

// noise returns n bytes that do not compress.
func noise(n int) string {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return string(b)
}

func sample(t *testing.T, platform string, docker bool, size int) *registrytest.Image {
	t.Helper()
	body := noise(size)
	return registrytest.Build(t, platform, docker,
		registrytest.Layer{Tar: registrytest.Tar(t, registrytest.File{Name: "a", Body: body}), Packing: "gzip"},
		registrytest.Layer{Tar: registrytest.Tar(t, registrytest.File{Name: "b", Body: platform})},
		registrytest.Layer{Tar: registrytest.Tar(t, registrytest.File{Name: "c", Body: "c"}), Packing: "zstd"})
}
