package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"berth/test/images"
)

func now() time.Time { return time.Now() }

// Login of the registry that asks for one. The hash is bcrypt of the password.
const (
	User     = "tester"
	Password = "secret"
	htpasswd = User + ":$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
)

// Cache is where images are kept between runs.
func Cache(t T) string {
	dir := os.Getenv("BERTH_TEST_CACHE")
	if dir == "" {
		dir = filepath.Join(Repo(t), "test", "tmp")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startRegistries starts Debian's docker-registry four times on loopback:
// three with one shared storage, and an empty one.
func (l *Lab) startRegistries(t T) {
	t.Helper()
	cache := Cache(t)
	defer lockCache(t, cache)()
	conf := filepath.Join(l.Dir, "registries")
	if err := os.Mkdir(conf, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		p := filepath.Join(conf, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	shared := filepath.Join(cache, "registry")
	auth := "auth:\n  htpasswd: {realm: tests, path: " + write("htpasswd", htpasswd) + "}\n"
	crt, key := filepath.Join(conf, "crt"), filepath.Join(conf, "key")
	out, err := exec.Command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
		"-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", crt).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	l.Open = startRegistry(t, conf, "open", shared, "", "")
	l.Mirror = "http://" + l.Open
	l.Auth = startRegistry(t, conf, "auth", shared, auth, "")
	l.TLS = startRegistry(t, conf, "tls", shared, "", "  tls: {certificate: "+crt+", key: "+key+"}\n")
	l.Scratch = startRegistry(t, conf, "scratch", filepath.Join(l.Dir, "scratch"), "", "")
	fill(t, "filled-", l.Mirror, cache, images.PushAll)
	l.Tricky = startTricky(t, l.Open)
	l.Far = StartProxy(t, Far{Upstream: l.Open, Delay: 30 * time.Millisecond, Rate: 100e6}).Addr
}

// Big starts a registry that holds the big images and answers its host:port.
// The first time they are made, which takes minutes: see [images.PushBig].
func (l *Lab) Big(t T) string {
	t.Helper()
	cache := Cache(t)
	storage := BigStorage(t)
	if err := os.MkdirAll(storage, 0o755); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(l.Dir, "registries")
	addr := startRegistry(t, conf, "big", storage, "", "")
	if err := images.PushBig("http://"+addr, storage, cache, os.Stderr); err != nil {
		t.Fatal(err)
	}
	return addr
}

// BigStorage is the folder where the registry of the big images keeps them.
func BigStorage(t T) string { return filepath.Join(Cache(t), "big") }

// Services has the registries hold the images of servers: see
// [images.PushServices].
func (l *Lab) Services(t T) {
	t.Helper()
	cache := Cache(t)
	defer lockCache(t, cache)()
	fill(t, "services-", l.Mirror, cache, images.PushServices)
}

// lockCache has one test process at a time fill the storage.
func lockCache(t T, cache string) (unlock func()) {
	t.Helper()
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() { lock.Close() }
}

// fill puts images into the shared registry unless its storage holds this version
// of them, as a stamp says.
func fill(t T, stamps, registry, cache string, push func(base, cache string, log io.Writer) error) {
	t.Helper()
	version, err := images.Version()
	if err != nil {
		t.Fatal(err)
	}
	stamp := filepath.Join(cache, "registry", stamps+version)
	if _, err := os.Stat(stamp); err == nil {
		return
	}
	if err := push(registry, cache, os.Stderr); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stamp, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func startRegistry(t T, conf, name, storage, auth, tls string) string {
	t.Helper()
	addr := freePort(t)
	file := filepath.Join(conf, name+".yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage:\n  filesystem: {rootdirectory: %s}\nhttp:\n  addr: %s\n%s%s", storage, addr, tls, auth)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	logFile, err := os.Create(filepath.Join(conf, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logFile.Close()
	cmd := exec.Command("docker-registry", "serve", file)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	// The registry goes with the test, however the test ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("no docker-registry: run test/packages.sh: %v", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 100 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		time.Sleep(50 * time.Millisecond)
	}
	b, _ := os.ReadFile(logFile.Name())
	t.Fatalf("registry %s does not answer:\n%s", name, b)
	return ""
}

func freePort(t T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Get returns the body of a page, waiting up to a while for its server.
func Get(url string, wait time.Duration) (string, error) {
	deadline := time.Now().Add(wait)
	for {
		resp, err := http.Get(url)
		if err == nil {
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil && resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s: %s", url, resp.Status)
			}
			return string(b), err
		}
		if time.Now().After(deadline) {
			return "", err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Fetch reads a JSON document of a registry, of images the single manifest.
func Fetch(t T, url string, into any) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.docker.distribution.manifest.v2+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatalf("%s: %v", url, err)
	}
}
