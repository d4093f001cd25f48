package opts

import (
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/pflag"
)

// Container holds the values of the options that run and create share.
type Container struct {
	flags  *pflag.FlagSet
	lookup Lookup

	// What runs, and as whom.
	env, envFiles, labels, labelFiles  list
	entrypoint, user, workdir          string
	hostname, domainname               string
	groups, annotations                list
	stopSignal                         string
	stopTimeout                        int
	init, privileged, readOnly         bool
	capAdd, capDrop, security, sysctls list

	// How it is reached.
	stdin, tty bool
	attach     list

	// What it sees.
	volumes, tmpfs, volumesFrom list
	mounts                      mountsValue
	devices, deviceRules        list
	ipc, pid, uts               string
	cgroupns, userns            string
	shmSize                     bytesValue
	networks                    networksValue
	netAliases, links           list
	ip, ip6, mac                string
	linkLocal                   list
	publish, expose             list
	publishAll                  bool
	dns, dnsSearch, dnsOptions  list
	extraHosts                  list

	// What it may use.
	memory, reservation, swap bytesValue
	swappiness                int64
	cpus                      cpusValue
	cpuShares, cpuPeriod      int64
	cpuQuota, pidsLimit       int64
	cpuset, memset            string
	cpuRtPeriod, cpuRtRuntime int64
	blkioWeight               uint16
	blkioWeights              weights
	readBps, writeBps         throttles
	readIOps, writeIOps       throttles
	cgroupParent              string
	oomScoreAdj               int
	oomKillDisable            bool
	ulimits                   ulimitsValue

	// What becomes of it.
	restart, logDriver string
	logOpts            list
	autoRemove         bool
	health             container.HealthConfig
	healthCmd          string
	noHealthcheck      bool
	runtime            string
}

// Register declares the options on flags. The caller's environment is asked
// through lookup.
func Register(flags *pflag.FlagSet, lookup Lookup) *Container {
	c := &Container{flags: flags, lookup: lookup}
	c.processFlags()
	c.viewFlags()
	c.networkFlags()
	c.limitFlags()
	c.lifeFlags()
	c.refusedFlags()
	return c
}

// Interactive says whether standard input stays open (-i).
func (c *Container) Interactive() bool { return c.stdin }

// TTY says whether the program gets a terminal (-t).
func (c *Container) TTY() bool { return c.tty }

// Streams says whether single streams were chosen with -a.
func (c *Container) Streams() bool { return len(c.attach.values) > 0 }

func (c *Container) processFlags() {
	f := c.flags
	c.env.check = Variable(c.lookup)
	c.labels.check = checkLabel
	c.attach.check = checkStream
	c.sysctls.check, c.sysctls.kind = checkSysctl, "map"
	c.annotations.kind = "map"
	f.VarP(&c.env, "env", "e", "Set environment variables")
	f.Var(&c.envFiles, "env-file", "Read in a file of environment variables")
	f.VarP(&c.labels, "label", "l", "Set meta data on a container")
	f.Var(&c.labelFiles, "label-file", "Read in a line delimited file of labels")
	f.Var(&c.annotations, "annotation", "Add an annotation to the container (passed through to the OCI runtime)")
	f.StringVar(&c.entrypoint, "entrypoint", "", "Overwrite the default ENTRYPOINT of the image")
	f.StringVarP(&c.user, "user", "u", "", "Username or UID (format: <name|uid>[:<group|gid>])")
	f.StringVarP(&c.workdir, "workdir", "w", "", "Working directory inside the container")
	f.StringVarP(&c.hostname, "hostname", "h", "", "Container host name")
	f.StringVar(&c.domainname, "domainname", "", "Container NIS domain name")
	f.Var(&c.groups, "group-add", "Add additional groups to join")
	f.BoolVar(&c.init, "init", false, "Run an init inside the container that forwards signals and reaps processes")
	f.BoolVar(&c.privileged, "privileged", false, "Give extended privileges to this container")
	f.BoolVar(&c.readOnly, "read-only", false, "Mount the container's root filesystem as read only")
	f.Var(&c.capAdd, "cap-add", "Add Linux capabilities")
	f.Var(&c.capDrop, "cap-drop", "Drop Linux capabilities")
	f.Var(&c.security, "security-opt", "Security Options")
	f.Var(&c.sysctls, "sysctl", "Sysctl options")
	f.BoolVarP(&c.stdin, "interactive", "i", false, "Keep STDIN open even if not attached")
	f.BoolVarP(&c.tty, "tty", "t", false, "Allocate a pseudo-TTY")
	f.VarP(&c.attach, "attach", "a", "Attach to STDIN, STDOUT or STDERR")
}

func (c *Container) viewFlags() {
	f := c.flags
	c.deviceRules.check = checkDeviceRule
	f.VarP(&c.volumes, "volume", "v", "Bind mount a volume")
	f.Var(&c.mounts, "mount", "Attach a filesystem mount to the container")
	f.Var(&c.tmpfs, "tmpfs", "Mount a tmpfs directory")
	f.Var(&c.volumesFrom, "volumes-from", "Mount volumes from the specified container(s)")
	f.Var(&c.devices, "device", "Add a host device to the container")
	f.Var(&c.deviceRules, "device-cgroup-rule", "Add a rule to the cgroup allowed devices list")
	f.Var(&c.shmSize, "shm-size", "Size of /dev/shm")
	f.StringVar(&c.ipc, "ipc", "", "IPC mode to use")
	f.StringVar(&c.pid, "pid", "", "PID namespace to use")
	f.StringVar(&c.uts, "uts", "", "UTS namespace to use")
	f.StringVar(&c.cgroupns, "cgroupns", "", "Cgroup namespace to use (host|private)")
	f.StringVar(&c.userns, "userns", "", "User namespace to use (host, auto, keep-id, single)")
}

func (c *Container) networkFlags() {
	f := c.flags
	c.links.check = checkLink
	c.linkLocal.check = checkAddress
	c.dns.check = checkAddress
	c.dnsSearch.check = checkDomain
	c.extraHosts.check = checkExtraHost
	f.Var(&c.networks, "network", "Connect a container to a network")
	f.Var(&c.networks, "net", "Connect a container to a network")
	f.Var(&c.netAliases, "network-alias", "Add network-scoped alias for the container")
	f.Var(&c.netAliases, "net-alias", "Add network-scoped alias for the container")
	f.Var(&c.links, "link", "Add link to another container")
	f.Var(&c.linkLocal, "link-local-ip", "Container IPv4/IPv6 link-local addresses")
	f.StringVar(&c.ip, "ip", "", "IPv4 address (e.g., 172.30.100.104)")
	f.StringVar(&c.ip6, "ip6", "", "IPv6 address (e.g., 2001:db8::33)")
	f.StringVar(&c.mac, "mac-address", "", "Container MAC address (e.g., 92:d0:c6:0a:29:33)")
	f.VarP(&c.publish, "publish", "p", "Publish a container's port(s) to the host")
	f.BoolVarP(&c.publishAll, "publish-all", "P", false, "Publish all exposed ports to random ports")
	f.Var(&c.expose, "expose", "Expose a port or a range of ports")
	f.Var(&c.dns, "dns", "Set custom DNS servers")
	f.Var(&c.dnsSearch, "dns-search", "Set custom DNS search domains")
	f.Var(&c.dnsOptions, "dns-option", "Set DNS options")
	f.Var(&c.dnsOptions, "dns-opt", "Set DNS options")
	f.Var(&c.extraHosts, "add-host", "Add a custom host-to-IP mapping (host:ip)")
	hide(f, "net", "net-alias", "dns-opt")
}

func (c *Container) limitFlags() {
	f := c.flags
	c.swap.unlimited = true
	f.VarP(&c.memory, "memory", "m", "Memory limit")
	f.Var(&c.reservation, "memory-reservation", "Memory soft limit")
	f.Var(&c.swap, "memory-swap", "Swap limit equal to memory plus swap: '-1' to enable unlimited swap")
	f.Int64Var(&c.swappiness, "memory-swappiness", -1, "Tune container memory swappiness (0 to 100)")
	f.Var(&c.cpus, "cpus", "Number of CPUs")
	f.Int64VarP(&c.cpuShares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	f.Int64Var(&c.cpuPeriod, "cpu-period", 0, "Limit CPU CFS (Completely Fair Scheduler) period")
	f.Int64Var(&c.cpuQuota, "cpu-quota", 0, "Limit CPU CFS (Completely Fair Scheduler) quota")
	f.Int64Var(&c.cpuRtPeriod, "cpu-rt-period", 0, "Limit CPU real-time period in microseconds")
	f.Int64Var(&c.cpuRtRuntime, "cpu-rt-runtime", 0, "Limit CPU real-time runtime in microseconds")
	f.Uint16Var(&c.blkioWeight, "blkio-weight", 0, "Block IO (relative weight), between 10 and 1000, or 0 to disable")
	f.Var(&c.blkioWeights, "blkio-weight-device", "Block IO weight (relative device weight)")
	c.readBps.bytes, c.writeBps.bytes = true, true
	f.Var(&c.readBps, "device-read-bps", "Limit read rate (bytes per second) from a device")
	f.Var(&c.readIOps, "device-read-iops", "Limit read rate (IO per second) from a device")
	f.Var(&c.writeBps, "device-write-bps", "Limit write rate (bytes per second) to a device")
	f.Var(&c.writeIOps, "device-write-iops", "Limit write rate (IO per second) to a device")
	f.StringVar(&c.cgroupParent, "cgroup-parent", "", "Optional parent cgroup for the container")
	f.BoolVar(&c.oomKillDisable, "oom-kill-disable", false, "Disable OOM Killer")
	f.StringVar(&c.cpuset, "cpuset-cpus", "", "CPUs in which to allow execution (0-3, 0,1)")
	f.StringVar(&c.memset, "cpuset-mems", "", "MEMs in which to allow execution (0-3, 0,1)")
	f.Int64Var(&c.pidsLimit, "pids-limit", 0, "Tune container pids limit (set -1 for unlimited)")
	f.IntVar(&c.oomScoreAdj, "oom-score-adj", 0, "Tune host's OOM preferences (-1000 to 1000)")
	f.Var(&c.ulimits, "ulimit", "Ulimit options")
}

func (c *Container) lifeFlags() {
	f := c.flags
	f.StringVar(&c.restart, "restart", "no", "Restart policy to apply when a container exits")
	f.BoolVar(&c.autoRemove, "rm", false, "Automatically remove the container and its associated anonymous volumes when it exits")
	f.StringVar(&c.stopSignal, "stop-signal", "", "Signal to stop the container")
	f.IntVar(&c.stopTimeout, "stop-timeout", 0, "Timeout (in seconds) to stop a container")
	f.StringVar(&c.logDriver, "log-driver", "", "Logging driver for the container")
	f.Var(&c.logOpts, "log-opt", "Log driver options")
	f.StringVar(&c.runtime, "runtime", "", "Runtime to use for this container")
	f.StringVar(&c.healthCmd, "health-cmd", "", "Command to run to check health")
	for _, d := range []struct {
		name, usage string
		value       *time.Duration
	}{
		{"health-interval", "Time between running the check (ms|s|m|h)", &c.health.Interval},
		{"health-timeout", "Maximum time to allow one check to run (ms|s|m|h)", &c.health.Timeout},
		{"health-start-period", "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)", &c.health.StartPeriod},
		{"health-start-interval", "Time between running the check during the start period (ms|s|m|h)", &c.health.StartInterval},
	} {
		f.DurationVar(d.value, d.name, 0, d.usage)
	}
	f.IntVar(&c.health.Retries, "health-retries", 0, "Consecutive failures needed to report unhealthy")
	f.BoolVar(&c.noHealthcheck, "no-healthcheck", false, "Disable any container-specified HEALTHCHECK")
}

// hide keeps flags that exist for old scripts out of the help.
func hide(f *pflag.FlagSet, names ...string) {
	for _, n := range names {
		f.Lookup(n).Hidden = true
	}
}
