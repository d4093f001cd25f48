// Package registrytest gives tests registries to pull from: the real one of
// the Debian package docker-registry on loopback ([Start]), and one in memory
// that can be made to misbehave ([Fake]). Images for both are built in memory
// ([Build]).
package registrytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The account that registries started with Auth know.
const (
	User     = "berth"
	Password = "berth-test"
	// bcrypt of Password, cost 5.
	passwordLine = User + `:$2b$05$abcdefghijklmnopqrstuupAN5U5wYWVs79LoNJdNIIaTJdfN5k9e`
)

// Options says what kind of registry to start.
type Options struct {
	Auth bool        // asks for the account above
	Cert *SelfSigned // speaks TLS with this certificate
	Addr string      // empty: a free port on loopback
}

// Server is a running docker-registry.
type Server struct {
	Addr string // host:port
	Root string // its storage
	URL  string
	opt  Options
	cmd  *exec.Cmd
	conf string
}

// Start runs docker-registry until the test ends. A machine without it fails
// the test: nothing real would be tested otherwise.
func Start(t testing.TB, opt Options) *Server {
	t.Helper()
	bin, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Fatal("docker-registry is missing: apt-get install docker-registry")
	}
	dir := t.TempDir()
	s := &Server{Addr: opt.Addr, Root: filepath.Join(dir, "data"), opt: opt, conf: filepath.Join(dir, "config.yml")}
	if s.Addr == "" {
		s.Addr = FreeAddr(t)
	}
	s.URL = "http://" + s.Addr
	var extra string
	if opt.Cert != nil {
		s.URL = "https://" + s.Addr
		extra += fmt.Sprintf("  tls:\n    certificate: %s\n    key: %s\n", opt.Cert.CertFile, opt.Cert.KeyFile)
	}
	if opt.Auth {
		file := filepath.Join(dir, "htpasswd")
		write(t, file, passwordLine+"\n")
		extra += fmt.Sprintf("auth:\n  htpasswd:\n    realm: test\n    path: %s\n", file)
	}
	write(t, s.conf, fmt.Sprintf("version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\n"+
		"storage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: %s\n%s", s.Root, s.Addr, extra))
	s.run(t, bin)
	t.Cleanup(s.Stop)
	return s
}

func (s *Server) run(t testing.TB, bin string) {
	t.Helper()
	log, err := os.Create(s.conf + ".log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command(bin, "serve", s.conf)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // not left behind by a test that dies
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: time.Second}
	for range 400 {
		if resp, err := client.Get(s.URL + "/v2/"); err == nil {
			resp.Body.Close()
			client.CloseIdleConnections()
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	out, _ := os.ReadFile(s.conf + ".log")
	s.Stop()
	t.Fatalf("docker-registry does not start:\n%s", out)
}

// Stop kills the registry; its storage stays until the test ends.
func (s *Server) Stop() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// Restart starts a stopped registry again, with its address and storage.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	bin, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Fatal(err)
	}
	s.run(t, bin)
}

// FreeAddr returns a loopback address that nobody listens on.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// SelfSigned is a certificate that is its own authority.
type SelfSigned struct{ CertFile, KeyFile string }

// NewCert makes a certificate for the hosts (names or addresses) in dir.
func NewCert(dir string, hosts ...string) (*SelfSigned, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "berth test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	c := &SelfSigned{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	if err := writePEM(c.CertFile, "CERTIFICATE", der); err != nil {
		return nil, err
	}
	return c, writePEM(c.KeyFile, "PRIVATE KEY", keyDER)
}

func writePEM(path, kind string, der []byte) error {
	var b strings.Builder
	if err := pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(b.String()), 0o600)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
