package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/config"
	"berth/internal/disk"
	"berth/internal/host"
	"berth/internal/state"
	"berth/internal/sys"
)

// Options says whom to examine.
type Options struct {
	Root         string // data root, as the command line has it; empty chooses the account's own
	DockerConfig string // folder of Docker's client configuration
	// Ask asks registries whether they answer, all at once; nil asks none.
	Ask func(ctx context.Context, dataRoot string, domains []string) ([]Answer, error)
}

// Answer is what a registry has said.
type Answer struct {
	Domain string    `json:"domain"`
	Server string    `json:"server"`        // who answered: the registry or a mirror of it
	Why    string    `json:"why,omitempty"` // it did not answer
	Date   time.Time `json:"date"`          // its clock, zero if it does not say
}

// patient is the machine and the account that are examined.
type patient struct {
	root    string // of the machine's files: / except in tests
	exe     string // berth's own path
	host    host.Host
	config  config.Config
	badConf error
	data    string     // the data root's path, empty when it cannot be told
	dir     *state.Dir // nil when it cannot be opened
	told    string     // what was decided about it just now
	badData error
	docker  string // folder of Docker's client configuration
	getenv  func(string) string
	answers []Answer
	badAsk  error

	own   trial // of the calling account; for root without a user namespace
	other trial // root only: of an ordinary account
}

// Examine carries out all checks. What cannot be found out is a finding, too.
func Examine(ctx context.Context, opt Options) Report {
	h, _ := host.Detect()
	p := &patient{root: "/", exe: host.Executable(), host: h, docker: opt.DockerConfig, getenv: os.Getenv}
	p.config, p.badConf = config.Load("")
	if p.data, p.badData = config.ChooseRoot(opt.Root, p.config, h); p.badData == nil {
		p.dir, p.told, p.badData = disk.Open(p.data, disk.Options{User: h.Rootless, Local: p.config.ChooseLocal(), Getenv: os.Getenv})
	}
	var asked sync.WaitGroup
	if opt.Ask != nil {
		asked.Go(func() { p.answers, p.badAsk = opt.Ask(ctx, p.data, p.registries()) })
	}
	p.tryAll(ctx)
	asked.Wait()
	return p.report()
}

// tryAll makes the trials that the checks look at.
func (p *patient) tryAll(ctx context.Context) {
	dir := ""
	if p.dir != nil {
		if t, err := p.dir.TempFor("containers"); err == nil {
			defer t.Close()
			if layersIn(t.Path()) == nil {
				dir = t.Path()
			}
		}
	}
	p.own = try(ctx, p.host.Rootless, dir)
	if !p.host.Rootless {
		p.other = tryAs(ctx, nobody)
	}
}

// report lets every check look.
func (p *patient) report() Report {
	var r Report
	for _, c := range []struct {
		name string
		look func() []Finding
	}{
		{"berth", p.program},
		{"kernel", p.kernel},
		{"user-namespaces", p.namespaces},
		{"surroundings", p.surroundings},
		{"overlay", p.overlay},
		{"id-ranges", p.ranges},
		{"cgroups", p.cgroups},
		{"session", p.session},
		{"network", p.network},
		{"data-root", p.dataRoot},
		{"disk", p.disk},
		{"state", p.leftovers},
		{"gpu", p.gpus},
		{"registries", p.reachable},
		{"credentials", p.credentials},
		{"clock", p.clock},
		{"limits", p.limits},
	} {
		for _, f := range c.look() {
			f.Check = c.name
			r.Findings = append(r.Findings, f)
		}
	}
	r.Letter = p.letter()
	return r
}

// program tells which program this is, and whether its configuration is read.
func (p *patient) program() []Finding {
	if p.badConf != nil {
		return []Finding{failure(p.badConf.Error(), "no command works until it is mended", "edit that file; docs/formats.md lists the keys")}
	}
	where := p.exe
	if container := (host.InContainer() && p.root == "/"); container {
		where += ", inside a container of another engine"
	}
	return []Finding{fine("%s, as %s", where, p.account())}
}

// account is the caller in words.
func (p *patient) account() string {
	if !p.host.Rootless {
		return "root"
	}
	return fmt.Sprintf("account %d", p.host.UID)
}

// registries are the domains that are asked.
func (p *patient) registries() []string {
	out := []string{"docker.io"}
	add := func(domain string) {
		for _, d := range out {
			if d == domain {
				return
			}
		}
		out = append(out, domain)
	}
	for domain := range p.config.Mirrors {
		add(domain)
	}
	for _, h := range p.config.InsecureRegistries {
		if !strings.Contains(h, "/") { // a network
			add(h)
		}
	}
	return out
}

// Reading files of the machine.

func (p *patient) path(name string) string { return filepath.Join(p.root, name) }

func (p *patient) read(name string) string {
	b, err := os.ReadFile(p.path(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (p *patient) has(name string) bool {
	_, err := os.Stat(p.path(name))
	return err == nil
}

// find returns the first of the programs that is in a folder of the machine's.
func (p *patient) find(names ...string) string {
	for _, n := range names {
		for _, dir := range []string{"usr/local/bin", "usr/bin", "usr/local/sbin", "usr/sbin", "bin", "sbin"} {
			if fi, err := os.Stat(p.path(filepath.Join(dir, n))); err == nil && fi.Mode()&0o111 != 0 {
				return "/" + filepath.Join(dir, n)
			}
		}
	}
	return ""
}

// writeSetting gives a file of the kernel's its value.
func writeSetting(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if err := sys.WriteAll(fd, []byte(value)); err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}
