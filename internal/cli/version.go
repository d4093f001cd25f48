package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"

	"berth/internal/cli/format"
	"berth/internal/version"
)

// printVersion is the short form, which scripts read.
func (a *app) printVersion() {
	v := version.Get()
	if v.GitCommit == "" {
		v.GitCommit = "unknown"
	}
	if a.name == "docker" {
		fmt.Fprintf(a.env.Stdout, "Docker version %s, build %s\n", v.DockerVersion, v.GitCommit)
		return
	}
	fmt.Fprintf(a.env.Stdout, "berth version %s, build %s\n", v.Version, v.GitCommit)
}

// versions is what version templates see. The two halves are one program.
type versions struct {
	Client clientVersion
	Server *system.VersionResponse
}

type clientVersion struct {
	Platform          *system.PlatformInfo `json:",omitempty"`
	Version           string
	APIVersion        string `json:"ApiVersion"`
	DefaultAPIVersion string `json:"DefaultAPIVersion,omitempty"`
	GitCommit         string
	GoVersion         string
	Os                string
	Arch              string
	BuildTime         string `json:",omitempty"`
	Context           string
}

// versionCommand is version.
func (a *app) versionCommand() *cobra.Command {
	c := &cobra.Command{Use: "version [OPTIONS]", Args: noArgs}
	layout := inspectFlag(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		v := a.versions(version.Get())
		if *layout == "" {
			return a.println(versionText(v))
		}
		if err := format.One(a.env.Stdout, *layout, v); err != nil {
			return templateFailure(err)
		}
		return nil
	}
	return c
}

func (a *app) versions(v version.Info) versions {
	own := v.Version
	if a.name == "docker" {
		own = v.DockerVersion
	}
	return versions{
		Client: clientVersion{
			Version: own, APIVersion: v.APIVersion, DefaultAPIVersion: v.APIVersion, GitCommit: v.GitCommit,
			GoVersion: v.GoVersion, Os: v.Os, Arch: v.Arch, BuildTime: v.BuildTime, Context: "default",
		},
		// Programs compare this version with the Docker that brought what
		// they need.
		Server: &system.VersionResponse{
			Platform: system.PlatformInfo{Name: "berth"}, Version: v.DockerVersion, APIVersion: v.APIVersion,
			MinAPIVersion: v.MinAPIVersion, Os: v.Os, Arch: v.Arch, GitCommit: v.GitCommit, GoVersion: v.GoVersion,
			KernelVersion: v.KernelVersion, BuildTime: v.BuildTime,
			Components: []system.ComponentVersion{
				{Name: "Engine", Version: v.DockerVersion, Details: map[string]string{
					"ApiVersion": v.APIVersion, "MinAPIVersion": v.MinAPIVersion, "Arch": v.Arch, "Os": v.Os, "BuildTime": v.BuildTime,
					"Experimental": "false", "GitCommit": v.GitCommit, "GoVersion": v.GoVersion, "KernelVersion": v.KernelVersion,
				}},
				{Name: "berth", Version: v.Version, Details: map[string]string{"GitCommit": v.GitCommit}},
			},
		},
	}
}

func versionText(v versions) string {
	c, s := v.Client, v.Server
	own := s.Components[1]
	return fmt.Sprintf(`Client:
 Version:           %s
 API version:       %s
 Go version:        %s
 Git commit:        %s
 Built:             %s
 OS/Arch:           %s/%s
 Context:           %s

Server: %s
 Engine:
  Version:          %s
  API version:      %s (minimum version %s)
  Go version:       %s
  Git commit:       %s
  Built:            %s
  OS/Arch:          %s/%s
  Experimental:     %t
 %s:
  Version:          %s
  GitCommit:        %s`,
		c.Version, c.APIVersion, c.GoVersion, c.GitCommit, buildTime(c.BuildTime), c.Os, c.Arch, c.Context,
		s.Platform.Name, s.Version, s.APIVersion, s.MinAPIVersion, s.GoVersion, s.GitCommit, buildTime(s.BuildTime), s.Os, s.Arch, s.Experimental,
		strings.ToLower(own.Name), own.Version, own.Details["GitCommit"])
}

// buildTime writes the time as Docker does: Fri May 30 12:07:14 2025.
func buildTime(s string) string {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return s
	}
	return t.Format(time.ANSIC)
}
