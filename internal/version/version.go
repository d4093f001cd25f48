// Package version tells which berth this is, and which Docker it behaves like.
package version

import (
	"runtime"
	"runtime/debug"
	"strings"

	"berth/internal/host"
)

// buildVersion is set by the linker (-X …buildVersion=v1.2.3) and written by
// nothing else: the one variable of this package.
var buildVersion string

// What berth tells programs that ask for Docker's version, because they compare
// it with the release that brought what they need.
const (
	Docker = "29.0.0"
	API    = "1.52"
	MinAPI = "1.44"
)

// Info is what is known of this program.
type Info struct {
	Version       string // berth's own
	DockerVersion string // the Docker it behaves like
	APIVersion    string
	MinAPIVersion string
	GitCommit     string
	BuildTime     string // RFC 3339, of the commit
	GoVersion     string
	Os            string
	Arch          string
	KernelVersion string
}

// Get describes this program. It reads no file.
func Get() Info {
	v := Info{
		Version: buildVersion, DockerVersion: Docker, APIVersion: API, MinAPIVersion: MinAPI,
		GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH,
		KernelVersion: host.Host{}.KernelVersion(),
	}
	v.fillFrom(debug.ReadBuildInfo())
	if v.Version == "" {
		v.Version = "dev"
	}
	return v
}

// fillFrom adds what the go command has noted in the program.
func (v *Info) fillFrom(bi *debug.BuildInfo, ok bool) {
	if !ok {
		return
	}
	dirty := false
	for _, s := range bi.Settings {
		switch s.Key {
		case "vcs.revision":
			v.GitCommit = s.Value
		case "vcs.time":
			v.BuildTime = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if len(v.GitCommit) > 7 {
		v.GitCommit = v.GitCommit[:7]
	}
	if dirty && v.GitCommit != "" {
		v.GitCommit += "-dirty"
	}
	if v.Version == "" || v.Version == "unknown" {
		v.Version = strings.TrimPrefix(bi.Main.Version, "v")
		if v.Version == "(devel)" {
			v.Version = ""
		}
	}
}
