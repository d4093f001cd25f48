// Package config reads berth's configuration file and chooses the data root.
package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"berth/internal/host"
	"berth/internal/proxies"
)

// Config is berth's configuration file, in the words of Docker's daemon.json
// where that has one. The zero Config is what an account without any file has.
type Config struct {
	// RegistryMirrors are asked before Docker Hub, in order.
	RegistryMirrors []string
	// Mirrors are asked before the registry they are listed under.
	Mirrors map[string][]string
	// InsecureRegistries ("host:port") may speak plain HTTP or show a
	// certificate nobody signed.
	InsecureRegistries []string
	// Proxies are the HTTP proxies for hosts of their own, "direct" for none;
	// for all others the environment says it.
	Proxies map[string]string
	// ContainerProxies are the HTTP proxies that containers are told of, by the
	// words of Docker's own settings (package proxies), in the place of those in
	// the environment. Nil where there is no such key.
	ContainerProxies map[string]string
	// Storage is how container roots are made: "auto", "overlay" or "copy".
	// Empty means auto.
	Storage string
	// KeepBlobs keeps the packed layers of what is pulled, too.
	KeepBlobs bool
	// StrictLimits refuses containers whose limits cannot be had.
	StrictLimits bool
	// DataRoot is where everything is kept; empty chooses the account's own.
	DataRoot string
	// LocalRoot is where what belongs to this machine is kept if the data root
	// is on a file system that others share; empty looks for a place.
	LocalRoot string
	// Runtimes are other OCI runtimes under the names that --runtime knows
	// them by.
	Runtimes map[string]Runtime
	Site
}

// Runtime is another OCI runtime.
type Runtime struct {
	Path string   `json:"path"` // of its program; a bare name is looked up in PATH
	Args []string `json:"runtimeArgs"`
}

const systemConfig = "/etc/berth/config.json"

// Load reads the configuration: the file at path if one is given, else
// the file $BERTH_CONFIG names, else the machine's file with the user's laid
// over it key by key. Only the last two may be missing.
func Load(path string) (Config, error) {
	var c Config
	if path == "" {
		path = os.Getenv("BERTH_CONFIG")
	}
	if path != "" {
		err := c.load(path)
		return c, err
	}
	if err := c.load(systemConfig); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	if os.Geteuid() != 0 {
		// A data root belongs to one account. The one in the machine's
		// file is root's, and nobody else could enter it.
		c.DataRoot = ""
	}
	pattern := c.NamePattern
	if user := userConfig(); user != "" {
		if err := c.load(user); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	if pattern != "" {
		c.NamePattern = pattern // what names look like is for all to rely on
	}
	return c, nil
}

// userConfig returns where the account's own configuration file lies, or
// nothing for an account without a home.
func userConfig() string {
	if dir := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "berth", "config.json")
	}
	if h, err := host.Detect(); err == nil && h.Home != "" {
		return filepath.Join(h.Home, ".config", "berth", "config.json")
	}
	return ""
}

// load lays the file at path over c.
func (c *Config) load(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot read configuration: %w", err)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	if offset, err := c.parse(b); err != nil {
		line, col := position(b, offset)
		return fmt.Errorf("configuration %s:%d:%d: %w", path, line, col, err)
	}
	return nil
}

// parse lays a JSON object over c. On error it tells where.
func (c *Config) parse(b []byte) (offset int64, err error) {
	if at, err := checkSyntax(b); err != nil {
		return at, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return 0, errors.New("a JSON object is expected")
	}
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return dec.InputOffset(), err
		}
		key, _ := tok.(string) // nothing else stands here
		end := dec.InputOffset()
		at := max(0, int64(bytes.LastIndexByte(b[:end-1], '"')))
		if seen[key] {
			return at, fmt.Errorf("the key %q comes twice", key)
		}
		seen[key] = true
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return dec.InputOffset(), err
		}
		if err := c.set(key, raw); err != nil {
			return at, err
		}
	}
	return 0, nil
}

// checkSyntax tells where b stops to be JSON.
func checkSyntax(b []byte) (offset int64, err error) {
	var any json.RawMessage
	err = json.Unmarshal(b, &any)
	var se *json.SyntaxError
	if !errors.As(err, &se) {
		return 0, err
	}
	if strings.HasPrefix(se.Error(), "unexpected end") {
		return int64(len(b)), errors.New("not valid JSON: the file ends too early")
	}
	// The offset counts what was read, the offending byte included.
	return se.Offset - 1, fmt.Errorf("not valid JSON: %w", err)
}

// set gives one key its value.
func (c *Config) set(key string, raw json.RawMessage) error {
	if known, err := c.Site.set(key, raw); known {
		return err
	}
	switch key {
	case "registry-mirrors":
		return setMirrors(&c.RegistryMirrors, key, raw)
	case "mirrors":
		var m map[string][]string
		if err := decodeValue(&m, key, raw, `an object of lists, as in {"ghcr.io": ["https://mirror.example"]}`); err != nil {
			return err
		}
		for domain, urls := range m {
			if err := checkHost(key, domain); err != nil {
				return err
			}
			if err := checkMirrors(key, urls); err != nil {
				return err
			}
		}
		c.Mirrors = m
	case "insecure-registries":
		return setHosts(&c.InsecureRegistries, key, raw)
	case "proxies":
		return setProxies(&c.Proxies, key, raw)
	case "container-proxies":
		return setContainerProxies(&c.ContainerProxies, key, raw)
	case "storage":
		var s string
		if err := decodeValue(&s, key, raw, "a string"); err != nil {
			return err
		}
		if !slices.Contains([]string{"", "auto", "overlay", "copy"}, s) {
			return fmt.Errorf("storage is %q, but must be auto, overlay or copy", s)
		}
		c.Storage = s
	case "keep-blobs":
		return decodeValue(&c.KeepBlobs, key, raw, "true or false")
	case "strict-limits":
		return decodeValue(&c.StrictLimits, key, raw, "true or false")
	case "data-root":
		return setFolder(&c.DataRoot, key, raw)
	case "local-root":
		return setFolder(&c.LocalRoot, key, raw)
	case "runtimes":
		return setRuntimes(&c.Runtimes, key, raw)
	default:
		return fmt.Errorf("unknown key %q (known: registry-mirrors, mirrors, insecure-registries, proxies, container-proxies, storage, keep-blobs, strict-limits, data-root, local-root, runtimes, name-pattern, shm-size, mounts, limits, image-stores, publish)", key)
	}
	return nil
}

func setFolder(dst *string, key string, raw json.RawMessage) error {
	var s string
	if err := decodeValue(&s, key, raw, "a string"); err != nil {
		return err
	}
	if s != "" && !filepath.IsAbs(s) {
		return fmt.Errorf("%s is %q, but must be an absolute path", key, s)
	}
	*dst = s
	return nil
}

func setMirrors(dst *[]string, key string, raw json.RawMessage) error {
	var urls []string
	if err := decodeValue(&urls, key, raw, "a list of addresses"); err != nil {
		return err
	}
	if err := checkMirrors(key, urls); err != nil {
		return err
	}
	*dst = urls
	return nil
}

func setHosts(dst *[]string, key string, raw json.RawMessage) error {
	var hosts []string
	if err := decodeValue(&hosts, key, raw, `a list of "host:port"`); err != nil {
		return err
	}
	for _, h := range hosts {
		if err := checkHost(key, h); err != nil {
			return err
		}
	}
	*dst = hosts
	return nil
}

func setProxies(dst *map[string]string, key string, raw json.RawMessage) error {
	var m map[string]string
	if err := decodeValue(&m, key, raw, `an object of addresses, as in {"ghcr.io": "http://proxy.example:3128"}`); err != nil {
		return err
	}
	for host, proxy := range m {
		if err := checkHost(key, host); err != nil {
			return err
		}
		scheme, rest, ok := strings.Cut(proxy, "://")
		if proxy != "direct" && (!ok || rest == "" || scheme != "http" && scheme != "https" && scheme != "socks5") {
			return fmt.Errorf("%s: %q must be \"direct\" or begin with http://, https:// or socks5://", key, proxy)
		}
	}
	*dst = m
	return nil
}

func setContainerProxies(dst *map[string]string, key string, raw json.RawMessage) error {
	m := map[string]string{}
	if err := decodeValue(&m, key, raw, `an object of addresses, as in {"httpProxy": "http://proxy.example:3128", "noProxy": "localhost"}`); err != nil {
		return err
	}
	for name := range m {
		if !slices.Contains(proxies.Keys(), name) {
			return fmt.Errorf("unknown key %q (known: %s)", key+"."+name, strings.Join(proxies.Keys(), ", "))
		}
	}
	*dst = m
	return nil
}

func setRuntimes(dst *map[string]Runtime, key string, raw json.RawMessage) error {
	var m map[string]Runtime
	if err := decodeValue(&m, key, raw, `an object of programs, as in {"gvisor": {"path": "/usr/bin/runsc", "runtimeArgs": ["--network=host"]}}`); err != nil {
		return err
	}
	for name, r := range m {
		switch {
		case name == "" || strings.Contains(name, "/"):
			return fmt.Errorf("%s: %q is not a name", key, name)
		case name == "berth" || name == "runc" || name == "nvidia":
			return fmt.Errorf("%s: the name %q is berth's own", key, name)
		case r.Path == "":
			return fmt.Errorf("%s: %s has no path", key, name)
		}
	}
	*dst = m
	return nil
}

func decodeValue(dst any, key string, raw json.RawMessage, want string) error {
	if err := json.Unmarshal(raw, dst); err != nil {
		return fmt.Errorf("%s must be %s", key, want)
	}
	return nil
}

// checkMirrors checks the addresses and takes slashes off their ends.
func checkMirrors(key string, urls []string) error {
	for i, u := range urls {
		scheme, rest, ok := strings.Cut(u, "://")
		if !ok || scheme != "http" && scheme != "https" {
			return fmt.Errorf("%s: %q must begin with http:// or https://", key, u)
		}
		rest = strings.TrimRight(rest, "/")
		if host, _, _ := strings.Cut(rest, "/"); host == "" || strings.ContainsAny(rest, " \t\n?#@") {
			return fmt.Errorf("%s: %q is not the address of a registry", key, u)
		}
		urls[i] = scheme + "://" + rest
	}
	return nil
}

func checkHost(key, host string) error {
	if host == "" || strings.Contains(host, "://") {
		return fmt.Errorf("%s: %q must be a host or host:port without http://", key, host)
	}
	return nil
}

// RegistryMirrorsByDomain returns all mirrors, those of Docker Hub included,
// under the domain they stand in for.
func (c Config) RegistryMirrorsByDomain() map[string][]string {
	m := make(map[string][]string, len(c.Mirrors)+1)
	for domain, urls := range c.Mirrors {
		m[domain] = urls
	}
	if len(c.RegistryMirrors) > 0 {
		m["docker.io"] = append(c.RegistryMirrors[:len(c.RegistryMirrors):len(c.RegistryMirrors)], m["docker.io"]...)
	}
	return m
}

// position turns an offset into line and column, both counted from 1.
func position(b []byte, offset int64) (line, col int) {
	offset = max(0, min(offset, int64(len(b))))
	before := b[:offset]
	line = 1 + bytes.Count(before, []byte{'\n'})
	return line, len(before) - (bytes.LastIndexByte(before, '\n') + 1) + 1
}

// ChooseLocal returns the folder that was asked for by $BERTH_LOCAL or by the
// configuration for what belongs to this machine, or nothing.
func (c Config) ChooseLocal() string { return cmp.Or(os.Getenv("BERTH_LOCAL"), c.LocalRoot) }

// SystemRoot is root's data root unless another one is named.
const SystemRoot = "/var/lib/berth"

// ChooseRoot returns the data root: the one asked for by flag, by $BERTH_ROOT
// or by the configuration, else the account's own.
func ChooseRoot(flag string, cfg Config, h host.Host) (string, error) {
	for _, p := range []string{flag, os.Getenv("BERTH_ROOT"), cfg.DataRoot} {
		if p != "" {
			return filepath.Abs(p)
		}
	}
	if !h.Rootless {
		return SystemRoot, nil
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "berth"), nil
	}
	if !filepath.IsAbs(h.Home) {
		return "", fmt.Errorf("cannot tell where to keep data: account %d has no home folder; set HOME or name a folder with --root", h.UID)
	}
	return filepath.Join(h.Home, ".local", "share", "berth"), nil
}
