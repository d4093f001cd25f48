package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"

	"berth/internal/cli/format"
	"berth/internal/version"
)

// infoCommand is info.
func (a *app) infoCommand() *cobra.Command {
	c := &cobra.Command{Use: "info [OPTIONS]", Args: noArgs}
	layout := inspectFlag(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		in, err := e.Info(c.Context())
		if err != nil {
			return err
		}
		all := information{Info: &in, ClientInfo: a.clientInfo()}
		if *layout != "" {
			if err := format.One(a.env.Stdout, *layout, all); err != nil {
				return templateFailure(err)
			}
			return nil
		}
		if err := a.println(infoText(all)); err != nil {
			return err
		}
		for _, w := range in.Warnings {
			fmt.Fprintln(a.env.Stderr, w)
		}
		return nil
	}
	return c
}

// information is what info templates see.
type information struct {
	*system.Info `json:",omitempty"`
	ServerErrors []string `json:",omitempty"`
	ClientInfo   *clientInfo
	ClientErrors []string `json:",omitempty"`
}

type clientInfo struct {
	Debug bool
	clientVersion
	Plugins  []string
	Warnings []string
}

func (a *app) clientInfo() *clientInfo {
	return &clientInfo{Debug: a.set.debug, clientVersion: a.versions(version.Get()).Client, Plugins: []string{}}
}

// infoText lays the information out as Docker does.
func infoText(all information) string {
	in, cl := all.Info, all.ClientInfo
	var s strings.Builder
	line := func(depth int, format string, args ...any) {
		fmt.Fprintf(&s, strings.Repeat(" ", depth)+format+"\n", args...)
	}
	line(0, "Client:")
	line(1, "Version:    %s", cl.Version)
	line(1, "Context:    %s", cl.Context)
	line(1, "Debug Mode: %t", cl.Debug)
	line(0, "")
	line(0, "Server:")
	line(1, "Containers: %d", in.Containers)
	line(2, "Running: %d", in.ContainersRunning)
	line(2, "Paused: %d", in.ContainersPaused)
	line(2, "Stopped: %d", in.ContainersStopped)
	line(1, "Images: %d", in.Images)
	line(1, "Server Version: %s", in.ServerVersion)
	line(1, "Storage Driver: %s", in.Driver)
	for _, pair := range in.DriverStatus {
		line(2, "%s: %s", pair[0], pair[1])
	}
	line(1, "Logging Driver: %s", in.LoggingDriver)
	line(1, "Cgroup Driver: %s", in.CgroupDriver)
	line(1, "Cgroup Version: %s", in.CgroupVersion)
	line(1, "Plugins:")
	line(2, "Volume: %s", strings.Join(in.Plugins.Volume, " "))
	line(2, "Network: %s", strings.Join(in.Plugins.Network, " "))
	line(2, "Log: %s", strings.Join(in.Plugins.Log, " "))
	line(1, "Swarm: %s", in.Swarm.LocalNodeState)
	line(1, "Runtimes: %s", strings.Join(slices.Sorted(maps.Keys(in.Runtimes)), " "))
	line(1, "Default Runtime: %s", in.DefaultRuntime)
	line(1, "Init Binary: %s", in.InitBinary)
	securityText(in.SecurityOptions, line)
	machineText(in, line)
	return strings.TrimSuffix(s.String(), "\n")
}

// securityText lists "name=seccomp,profile=builtin" as a name with its
// settings below.
func securityText(options []string, line func(int, string, ...any)) {
	if len(options) == 0 {
		return
	}
	line(1, "Security Options:")
	for _, o := range options {
		for _, word := range strings.Split(o, ",") {
			key, value, ok := strings.Cut(word, "=")
			switch {
			case key == "name":
				line(2, "%s", value)
			case ok && key != "":
				line(3, "%s: %s", strings.ToUpper(key[:1])+key[1:], value)
			}
		}
	}
}

func machineText(in *system.Info, line func(int, string, ...any)) {
	line(1, "Kernel Version: %s", in.KernelVersion)
	line(1, "Operating System: %s", in.OperatingSystem)
	line(1, "OSType: %s", in.OSType)
	line(1, "Architecture: %s", in.Architecture)
	line(1, "CPUs: %d", in.NCPU)
	line(1, "Total Memory: %s", units.BytesSize(float64(in.MemTotal)))
	line(1, "Name: %s", in.Name)
	line(1, "ID: %s", in.ID)
	line(1, "Docker Root Dir: %s", in.DockerRootDir)
	line(1, "Debug Mode: %t", in.Debug)
	for _, p := range [][2]string{{"HTTP Proxy", in.HTTPProxy}, {"HTTPS Proxy", in.HTTPSProxy}, {"No Proxy", in.NoProxy}} {
		if p[1] != "" {
			line(1, "%s: %s", p[0], p[1])
		}
	}
	line(1, "Experimental: %t", in.ExperimentalBuild)
	if r := in.RegistryConfig; r != nil {
		line(1, "Insecure Registries:")
		for _, name := range slices.Sorted(maps.Keys(r.IndexConfigs)) {
			if !r.IndexConfigs[name].Secure {
				line(2, "%s", name)
			}
		}
		for _, cidr := range r.InsecureRegistryCIDRs {
			line(2, "%s", cidr)
		}
		if len(r.Mirrors) > 0 {
			line(1, "Registry Mirrors:")
			for _, m := range r.Mirrors {
				line(2, "%s", m)
			}
		}
	}
	line(1, "Live Restore Enabled: %t", in.LiveRestoreEnabled)
}
