package engine

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"

	"berth/internal/cgroup"
	"berth/internal/config"
	"berth/internal/disk"
	"berth/internal/host"
	"berth/internal/logind"
	"berth/internal/logs/logopt"
	"berth/internal/lsm"
	"berth/internal/version"
	"berth/internal/volume"
)

// Info describes the machine, the account and the data root in the form of
// Docker's GET /info. What berth does not have is empty.
func (e *Engine) Info(ctx context.Context) (system.Info, error) {
	driver, _ := e.driver(nil)
	osName, osVersion := e.host.OperatingSystem()
	in := system.Info{
		ID:     e.identity(),
		Driver: driver, DriverStatus: e.driverStatus(),
		Plugins: system.PluginsInfo{
			Volume: []string{volume.Driver}, Network: []string{"bridge", "host", "macvlan", "null"}, Log: logopt.Drivers(),
		},
		IPv4Forwarding: e.host.Forwarding(),
		SystemTime:     time.Now().Format(time.RFC3339Nano),
		LoggingDriver:  "json-file",
		KernelVersion:  e.host.KernelVersion(), OperatingSystem: osName, OSVersion: osVersion,
		OSType: "linux", Architecture: e.host.Machine(), NCPU: e.host.NCPU(), MemTotal: e.host.MemTotal(),
		IndexServerAddress: "https://index.docker.io/v1/",
		RegistryConfig:     registryConfig(e.config),
		DockerRootDir:      e.Root(), Name: e.host.Hostname(), Labels: []string{},
		HTTPProxy:     proxy("HTTP_PROXY"),
		HTTPSProxy:    proxy("HTTPS_PROXY"),
		NoProxy:       firstEnv("NO_PROXY"),
		ServerVersion: version.Docker,
		Runtimes:      runtimes(), DefaultRuntime: runtimeName, InitBinary: runtimeName,
		Swarm:           swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive},
		SecurityOptions: e.securityOptions(), CDISpecDirs: []string{},
	}
	if err := e.limitInfo(&in); err != nil {
		return in, err
	}
	return in, e.countInfo(ctx, &in)
}

const runtimeName = "berth"

// countInfo counts containers and images.
func (e *Engine) countInfo(ctx context.Context, in *system.Info) error {
	list, err := e.ContainerList(ctx, ListOptions{All: true})
	if err != nil {
		return err
	}
	in.Containers = len(list)
	for _, c := range list {
		switch c.State {
		case container.StateRunning, container.StateRestarting:
			in.ContainersRunning++
		case container.StatePaused:
			in.ContainersPaused++
		default:
			in.ContainersStopped++
		}
	}
	images, err := e.store.Images()
	if err != nil {
		return err
	}
	in.Images = len(images)
	return nil
}

// limitInfo tells which limits work, and warns of those that do not.
func (e *Engine) limitInfo(in *system.Info) error {
	f, err := cgroup.Detect()
	if err != nil {
		return err
	}
	in.CgroupVersion = f.Version()
	in.CgroupDriver = "none"
	why := func(controller string) string { return logind.WhyNot(f, controller) }
	memory, cpu, pids, cpuset := why("memory"), why("cpu"), why("pids"), why("cpuset")
	in.MemoryLimit = memory == ""
	in.SwapLimit = in.MemoryLimit && f.HasSwap()
	in.OomKillDisable = in.MemoryLimit && f.Mode != cgroup.V2
	in.CPUCfsPeriod, in.CPUCfsQuota, in.CPUShares = cpu == "", cpu == "", cpu == ""
	in.PidsLimit = pids == ""
	in.CPUSet = cpuset == ""
	if memory == "" || cpu == "" || pids == "" {
		in.CgroupDriver = "cgroupfs"
	}
	// One reason is usually that of all: it is said once.
	said := map[string]bool{}
	for _, w := range []struct{ what, why string }{
		{"memory limit", memory}, {"cpu cfs quota", cpu}, {"pids limit", pids}, {"cpuset", cpuset},
	} {
		if w.why == "" {
			continue
		}
		text := "WARNING: No " + w.what + " support"
		if !said[w.why] {
			text += ": " + w.why
		}
		said[w.why] = true
		in.Warnings = append(in.Warnings, text)
	}
	if l := host.StandingLock("/", host.Executable()); e.host.Rootless && l.Name != host.NotALock {
		in.Warnings = append(in.Warnings, "WARNING: No containers can be run: "+l.Why+" ('berth doctor' tells more)")
	}
	if in.MemoryLimit && !in.SwapLimit {
		in.Warnings = append(in.Warnings, "WARNING: No swap limit support")
	}
	return nil
}

// identity is a name for this data root on this machine that does not change.
func (e *Engine) identity() string {
	machine, _ := os.ReadFile("/etc/machine-id")
	sum := sha256.Sum256(append(machine, e.Root()...))
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

func (e *Engine) driverStatus() [][2]string {
	status := [][2]string{{"Backing Filesystem", disk.KindOf(e.Root()).Name}}
	if e.dir.IsSplit() {
		status = append(status, [2]string{"Containers", e.dir.Local()})
	}
	if driver, _ := e.driver(nil); driver == driverOverlay {
		status = append(status, [2]string{"userxattr", fmt.Sprint(e.host.Rootless)})
	}
	return status
}

func (e *Engine) securityOptions() []string {
	var out []string
	if lsm.NewAppArmor().Enabled() {
		out = append(out, "name=apparmor")
	}
	if e.host.Seccomp() {
		out = append(out, "name=seccomp,profile=builtin")
	}
	if lsm.NewSELinux().Enabled() {
		out = append(out, "name=selinux")
	}
	if e.host.Rootless {
		out = append(out, "name=rootless")
	}
	if _, err := os.Lstat("/proc/self/ns/cgroup"); err == nil {
		out = append(out, "name=cgroupns")
	}
	return out
}

// runtimes are those that --runtime may name. Programs look for the second to
// learn whether GPUs can be given to containers.
func runtimes() map[string]system.RuntimeWithStatus {
	exe, err := os.Executable()
	if err != nil {
		exe = runtimeName
	}
	return map[string]system.RuntimeWithStatus{
		runtimeName: {Runtime: system.Runtime{Path: exe}},
		"nvidia":    {Runtime: system.Runtime{Path: "nvidia-container-runtime"}},
	}
}

const hubDomain = "docker.io"

// registryConfig tells the configured registries as Docker does.
func registryConfig(c config.Config) *registry.ServiceConfig {
	out := &registry.ServiceConfig{
		// Registries on this machine speak plain HTTP.
		InsecureRegistryCIDRs: []netip.Prefix{netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("127.0.0.0/8")},
		IndexConfigs:          map[string]*registry.IndexInfo{},
		Mirrors:               []string{},
	}
	index := func(domain string) *registry.IndexInfo {
		if out.IndexConfigs[domain] == nil {
			out.IndexConfigs[domain] = &registry.IndexInfo{Name: domain, Mirrors: []string{}, Secure: true, Official: domain == hubDomain}
		}
		return out.IndexConfigs[domain]
	}
	index(hubDomain)
	for domain, urls := range c.RegistryMirrorsByDomain() {
		for _, u := range urls {
			index(domain).Mirrors = append(index(domain).Mirrors, u+"/")
		}
	}
	out.Mirrors = append(out.Mirrors, index(hubDomain).Mirrors...)
	for _, host := range c.InsecureRegistries {
		if p, err := netip.ParsePrefix(host); err == nil {
			out.InsecureRegistryCIDRs = append(out.InsecureRegistryCIDRs, p)
		} else {
			index(host).Secure = false
		}
	}
	return out
}

// proxy returns the proxy in an environment variable without its password.
func proxy(name string) string {
	text := firstEnv(name)
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return text
	}
	u.User = url.UserPassword("xxxxx", "xxxxx")
	return u.String()
}

// firstEnv looks up a variable in capitals and then in small letters.
func firstEnv(name string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return os.Getenv(strings.ToLower(name))
}
