package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"berth/internal/registry/ref"
)

// hostTransport sends each request, redirected ones too, by the rules of the
// host that it goes to: whether certificates are verified, and with which CA.
type hostTransport struct{ c *Client }

func (t hostTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	tr, err := t.c.transport(req.URL.Host)
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, fail(ErrUnreachable, err, "%v", err) // says it all
	}
	return tr.RoundTrip(req)
}

func (c *Client) transport(host string) (*http.Transport, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.transports[host]; t != nil {
		return t, nil
	}
	cfg, err := c.tlsConfig(host)
	if err != nil {
		return nil, err
	}
	proxy, err := c.proxy(host)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{
		Proxy:               proxy,
		DialContext:         func(ctx context.Context, network, addr string) (net.Conn, error) { return c.dial(ctx, network, addr) },
		TLSClientConfig:     cfg,
		TLSHandshakeTimeout: c.patience.tls,
		MaxIdleConnsPerHost: 64, // a pull fetches ranges of several layers at once
		IdleConnTimeout:     time.Minute,
		// Layers are compressed already, and their digest is that of the
		// compressed form.
		DisableCompression: true,
		ReadBufferSize:     64 << 10,
		// HTTP/1.1 on purpose (no HTTP/2 is offered with a TLS
		// configuration of our own): concurrent layers then use as many
		// connections, each with its own share of the network.
	}
	c.transports[host] = t
	return t, nil
}

// proxy returns how to find the proxy for a host.
func (c *Client) proxy(host string) (func(*http.Request) (*url.URL, error), error) {
	address := c.opt.Proxies[host]
	if address == "" && host == "registry-1.docker.io" {
		address = c.opt.Proxies[ref.DefaultDomain]
	}
	switch address {
	case "":
		return http.ProxyFromEnvironment, nil
	case "direct":
		return nil, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("the proxy for %s is no address: %w", host, err)
	}
	return http.ProxyURL(u), nil
}

func (c *Client) tlsConfig(host string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if isLoopback(host) || c.insecure.has(host) {
		cfg.InsecureSkipVerify = true
	}
	for _, dir := range c.opt.CertDirs {
		if err := addCertificates(cfg, filepath.Join(dir, filepath.Base(host))); err != nil {
			return nil, err
		}
	}
	return cfg, nil
}

// defaultCertDirs returns the folders in which Docker looks, for root or for an
// ordinary account.
func defaultCertDirs(account bool) []string {
	dirs := []string{"/etc/docker/certs.d"}
	if conf, err := os.UserConfigDir(); err == nil && account {
		dirs = append([]string{filepath.Join(conf, "docker", "certs.d")}, dirs...)
	}
	return dirs
}

// caHint names the file that would make the certificate of host trusted.
func (c *Client) caHint(host string) string {
	if len(c.opt.CertDirs) == 0 {
		return "the system's certificates"
	}
	return filepath.Join(c.opt.CertDirs[0], filepath.Base(host), "ca.crt")
}

// addCertificates reads one registry's folder: *.crt are authorities,
// NAME.cert with NAME.key says who we are.
func addCertificates(cfg *tls.Config, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // no folder, or not for us to read, as in Docker
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch filepath.Ext(e.Name()) {
		case ".crt":
			pem, err := os.ReadFile(path)
			if err != nil {
				return fmt.Errorf("cannot read certificate: %w", err)
			}
			if cfg.RootCAs == nil {
				if cfg.RootCAs, err = x509.SystemCertPool(); err != nil {
					cfg.RootCAs = x509.NewCertPool()
				}
			}
			if !cfg.RootCAs.AppendCertsFromPEM(pem) {
				return fmt.Errorf("%s holds no certificate", path)
			}
		case ".cert":
			pair, err := tls.LoadX509KeyPair(path, strings.TrimSuffix(path, ".cert")+".key")
			if err != nil {
				return fmt.Errorf("cannot use client certificate %s: %w", path, err)
			}
			cfg.Certificates = append(cfg.Certificates, pair)
		}
	}
	return nil
}

// insecureList is the setting of that name: hosts and networks.
type insecureList struct {
	hosts []string
	nets  []netip.Prefix
}

func parseInsecure(entries []string) (insecureList, error) {
	var l insecureList
	for _, e := range entries {
		e = strings.TrimPrefix(strings.TrimPrefix(e, "http://"), "https://")
		if n, err := netip.ParsePrefix(e); err == nil {
			l.nets = append(l.nets, n.Masked())
			continue
		}
		if e == "" || strings.ContainsAny(e, "/ @?#") {
			return l, fmt.Errorf("insecure registry %q must be a host, host:port or network in CIDR form", e)
		}
		l.hosts = append(l.hosts, e)
	}
	return l, nil
}

// has reports whether host[:port] is listed, by name or because one of its
// addresses lies in a listed network.
func (l insecureList) has(host string) bool {
	for _, h := range l.hosts {
		if strings.EqualFold(h, host) {
			return true
		}
	}
	if len(l.nets) == 0 {
		return false
	}
	for _, ip := range addresses(hostname(host)) {
		for _, n := range l.nets {
			if n.Contains(ip.Unmap()) {
				return true
			}
		}
	}
	return false
}

func addresses(name string) []netip.Addr {
	if ip, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{ip}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil
	}
	return ips
}
