package spec

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

const (
	defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// maxGroups is the kernel's limit of supplementary groups.
	maxGroups = 65536
	// initPath is where the program of --init lies in a container.
	initPath = "/sbin/docker-init"
)

// Command returns the words a container runs, and refuses one that has none.
func Command(cfg *container.Config) ([]string, error) {
	if len(cfg.Entrypoint)+len(cfg.Cmd) == 0 {
		return nil, errors.New("no command specified")
	}
	return slices.Concat(cfg.Entrypoint, cfg.Cmd), nil
}

// process describes the container's first program.
func (b *builder) process() error {
	cfg, hc := b.in.Config, b.in.HostConfig
	args, err := Command(cfg)
	if err != nil {
		return err
	}
	p, err := b.newProcess(cfg.User)
	if err != nil {
		return err
	}
	p.Args = args
	if b.initProgram() {
		p.Args = append([]string{initPath, "--"}, p.Args...)
	}
	b.setTerminal(p, cfg.Tty, hc.ConsoleSize)
	b.setEnv(p, cfg.Tty, nil)
	if hc.Privileged && len(hc.CapAdd)+len(hc.CapDrop) > 0 {
		b.warn("A privileged container has all capabilities. Added and dropped capabilities discarded.")
	}
	b.spec.Process = p
	return nil
}

// initProgram reports whether a small program is to be process 1 and reap
// others. In a process namespace of somebody else there is one already.
func (b *builder) initProgram() bool {
	hc := b.in.HostConfig
	return hc.Init != nil && *hc.Init && b.in.Files.Init != "" && hc.PidMode.IsPrivate()
}

// BuildProcess describes one more program for a running container. It has the
// container's environment, limits and rights except where the request differs.
func BuildProcess(in Input, exec ExecRequest) (*specs.Process, error) {
	if len(exec.Args) == 0 {
		return nil, errors.New("no exec command specified")
	}
	b, err := newBuilder(&in)
	if err != nil {
		return nil, err
	}
	user := exec.User
	if user == "" {
		user = in.Config.User
	}
	p, err := b.newProcess(user)
	if err != nil {
		return nil, err
	}
	if exec.Privileged {
		p.Capabilities = processCaps(in.Host.allCaps(), p.User)
	}
	p.Args = slices.Clone(exec.Args)
	if exec.Cwd != "" {
		if p.Cwd, err = workingDir(exec.Cwd); err != nil {
			return nil, err
		}
	}
	b.setTerminal(p, exec.Tty, exec.ConsoleSize)
	b.setEnv(p, exec.Tty, exec.Env)
	return p, nil
}

// newProcess is what the first and every later program have in common. Its
// environment so far holds nothing but HOME.
func (b *builder) newProcess(user string) (*specs.Process, error) {
	in, hc := b.in, b.in.HostConfig
	id, err := b.identity(user)
	if err != nil {
		return nil, err
	}
	caps, err := Capabilities(hc, in.Host)
	if err != nil {
		return nil, err
	}
	cwd, err := workingDir(in.Config.WorkingDir)
	if err != nil {
		return nil, err
	}
	limits, err := rlimits(hc.Ulimits, b.in.Host.NoFile)
	if err != nil {
		return nil, err
	}
	p := &specs.Process{
		User:            specs.User{UID: id.uid, GID: id.gid, Umask: hc.Umask, AdditionalGids: id.groups},
		Cwd:             cwd,
		Rlimits:         limits,
		NoNewPrivileges: b.sec.noNewPrivileges,
	}
	if !in.Host.Rootless || hc.OomScoreAdj != 0 {
		// Without root the score can only rise. Left alone it is the
		// caller's, which a user session may have raised already.
		score := hc.OomScoreAdj
		p.OOMScoreAdj = &score
	}
	p.Capabilities = processCaps(caps, p.User)
	if p.ApparmorProfile, p.SelinuxLabel, err = b.protect(); err != nil {
		return nil, err
	}
	home := id.home
	if home == "" {
		home = "/"
	}
	p.Env = []string{"HOME=" + home}
	return p, nil
}

// identity finds the user and the supplementary groups: the user's main group,
// those that list the user, and those of --group-add. None of them (nil) leaves a
// process those of its caller.
func (b *builder) identity(user string) (identity, error) {
	host, added := b.in.Host, b.in.HostConfig.GroupAdd
	a := accounts{files: b.in.Users}
	id, err := a.lookup(user, !host.oneID())
	if err != nil {
		return id, err
	}
	own, _ := host.IDs.user(id.uid)
	keep := slices.Contains(added, keepGroups) && host.Rootless
	if keep && len(added) > 1 {
		return id, fmt.Errorf("--group-add %s leaves the groups as they are: no other can be added", keepGroups)
	}
	if host.IDs.Some() && (keep || own == 0 && len(added) == 0) {
		id.groups = nil
		return id, host.mapped(id)
	}
	groups := append([]uint32{id.gid}, id.groups...)
	for _, g := range added {
		if keep {
			break
		}
		gid, err := a.groupID(g)
		if err != nil {
			return id, err
		}
		if !slices.Contains(groups, gid) {
			groups = append(groups, gid)
		}
	}
	if len(groups) > maxGroups {
		return id, fmt.Errorf("user %q is in more than %d groups", user, maxGroups)
	}
	if host.oneID() {
		// Only one group is mapped, and setgroups is closed: what the
		// caller may read through a group stays readable instead.
		groups = nil
		if len(added) > 0 && !keep {
			b.warn("Without root a container keeps the groups of its caller. Added groups discarded.")
		}
	}
	id.groups = groups
	return id, host.mapped(id)
}

func workingDir(dir string) (string, error) {
	if dir == "" {
		return "/", nil
	}
	if !path.IsAbs(dir) {
		return "", fmt.Errorf("the working directory '%s' is invalid, it needs to be an absolute path", dir)
	}
	return path.Clean(dir), nil
}

func (b *builder) setTerminal(p *specs.Process, tty bool, size [2]uint) {
	p.Terminal = tty
	if tty && size[0] > 0 && size[1] > 0 {
		p.ConsoleSize = &specs.Box{Height: size[0], Width: size[1]}
	}
}

// setEnv lays the environment in layers: what every program has, what image
// and user gave the container, what the request for this program adds. HOME is
// the last resort only.
func (b *builder) setEnv(p *specs.Process, tty bool, extra []string) {
	env := []string{defaultPath, "HOSTNAME=" + b.hostnameForEnv()}
	if tty {
		env = append(env, "TERM=xterm")
	}
	if b.in.Files.Apt != "" {
		env = append(env, "APT_CONFIG="+aptConfig)
	}
	env = mergeEnv(env, b.in.Config.Env)
	env = mergeEnv(env, extra)
	if !slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "HOME=") }) {
		env = append(env, p.Env...)
	}
	p.Env = env
}

func (b *builder) hostnameForEnv() string {
	if b.in.HostConfig.UTSMode.IsHost() {
		return b.in.Config.Hostname
	}
	return b.hostname()
}

// mergeEnv lays variables over others: the same name replaces in place, a name
// without "=" removes.
func mergeEnv(env, over []string) []string {
	out := slices.Clone(env)
	for _, kv := range over {
		name, _, set := strings.Cut(kv, "=")
		i := slices.IndexFunc(out, func(s string) bool {
			n, _, _ := strings.Cut(s, "=")
			return n == name
		})
		switch {
		case set && i >= 0:
			out[i] = kv
		case set:
			out = append(out, kv)
		case i >= 0:
			out = slices.Delete(out, i, i+1)
		}
	}
	return out
}

// rlimits translates --ulimit; -1 is no limit.
//
// Without a word about open files the soft limit is the kernel's usual 1024, as
// in Docker: a Go program raises its own, and the container would inherit that.
func rlimits(ulimits []*container.Ulimit, noFile uint64) ([]specs.POSIXRlimit, error) {
	var out []specs.POSIXRlimit
	if noFile > 0 && !slices.ContainsFunc(ulimits, func(u *container.Ulimit) bool { return u.Name == "nofile" }) {
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Hard: noFile, Soft: min(noFile, 1024)})
	}
	for _, u := range ulimits {
		if err := checkUlimit(u); err != nil {
			return nil, err
		}
		out = append(out, specs.POSIXRlimit{
			Type: "RLIMIT_" + strings.ToUpper(u.Name),
			Hard: uint64(u.Hard),
			Soft: uint64(u.Soft),
		})
	}
	return out, nil
}
