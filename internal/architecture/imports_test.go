package architecture

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rooms is the picture: each package with those of our own that it may import.
// From the faces at the top to the floor at the bottom every edge points down,
// or along an arrow of its row.
var rooms = map[string][]string{
	// faces
	"cmd/berth":        {"internal/cli", "internal/oci", "internal/version", "internal/hello", "internal/transfer", "internal/inside", "internal/prelude", "internal/stage", "internal/shim", "internal/remote", "internal/remote/serve", "internal/network/holder", "internal/network/wire"}, // the last five without embedded stages
	"cmd/berth-shim":   {"internal/shim"},
	"cmd/berth-remote": {"internal/remote/serve"},
	"cmd/berth-oci":    {"internal/oci", "internal/prelude", "internal/version"},
	"cmd/berth-net":    {"internal/network/holder"},
	"internal/cli": {
		"internal/cli/opts", "internal/cli/format", "internal/cli/rows", "internal/cli/netcmd", "internal/cli/progress", "internal/cli/term",
		"internal/version",
		"internal/engine", "internal/images", "internal/remote", "internal/inside", // nouns, and how to remove what other ids own; not pull: that links net/http
		"internal/registry/ref", // the grammar of image names, no network
		"internal/doctor",
		"internal/state", "internal/sys",
	},
	"internal/oci": { // runc's command line, on the same start as the engine's
		"internal/runtime", "internal/nsinit", // nsinit: hooks inside the container's namespaces
		"internal/seccomp", "internal/cgroup", "internal/systemd", "internal/state", "internal/sys",
	},
	"internal/cli/opts":     {"internal/registry/ref"},
	"internal/cli/netcmd":   {"internal/cli/opts", "internal/cli/format", "internal/engine", "internal/networks", "internal/network"}, // the verbs of network
	"internal/cli/format":   {},
	"internal/cli/rows":     {"internal/cli/format", "internal/registry/ref"},
	"internal/cli/progress": {},
	"internal/cli/term":     {},

	// nouns
	"internal/pull": {
		"internal/images", "internal/errdef", // the Remote it implements half of
		"internal/registry", "internal/registry/ref", "internal/registry/platform", "internal/layer", "internal/store",
		"internal/download", "internal/inflate", "internal/state", "internal/sys",
	},
	"internal/push": {
		"internal/images", "internal/errdef",
		"internal/registry", "internal/registry/ref", "internal/registry/platform", "internal/layer", "internal/store",
		"internal/state", "internal/sys",
	},
	"internal/remote": {"internal/userns", "internal/images", "internal/errdef", "internal/stage", "internal/store", "internal/state"},
	"internal/remote/serve": {
		"internal/remote", "internal/pull", "internal/push", "internal/registry", "internal/registry/ref", "internal/config",
		"internal/images", "internal/errdef", "internal/store", "internal/layer", "internal/state",
	},
	"internal/images": { // what commands do with images
		"internal/inside", // whose layers may have owners of other ids
		"internal/roster", // which containers need them
		"internal/archive", "internal/change", "internal/hello", "internal/layer", "internal/store", "internal/filter",
		"internal/shared",                                     // folders of images that everybody uses
		"internal/registry/ref", "internal/registry/platform", // not registry: that links net/http
		"internal/stage", "internal/journal", "internal/state", "internal/errdef",
	},
	"internal/engine": {
		"internal/images", "internal/errdef",
		"internal/networks", "internal/network", "internal/network/client", "internal/network/wire", // a container's place in its networks
		"internal/inside",  // work on files of other ids
		"internal/foreign", // containers in the hands of another runtime
		"internal/userns",  // the ids of an ordinary account's containers
		"internal/version",
		"internal/roster",    // the containers' records, found, read and listed
		"internal/published", // what accounts tell each other of their containers
		"internal/listeners", // who holds a port
		"internal/proxies",   // which proxies programs are told of
		"internal/site",      // what the machine's administrator has decided
		"internal/resources", // limits and use, between Docker's words and the control groups
		"internal/logind",    // where an account's containers get their limits and how long they last
		"internal/shim", "internal/runtime", "internal/nsinit",
		"internal/spec", "internal/seccomp", "internal/lsm", "internal/layer", "internal/store", "internal/cgroup",
		"internal/registry/ref", "internal/registry/platform", // not registry: that links net/http
		"internal/commit", // a container as an image
		"internal/filter", // what --filter values mean in every list
		"internal/change", // what --change values mean, for commit and import
		"internal/volume", "internal/archive", "internal/transfer", "internal/download",
		"internal/hello", "internal/config", "internal/host", "internal/stage",
		"internal/disk",    // where the data root and its part for this machine lie
		"internal/journal", // what happened, for events
		"internal/health",
		"internal/logs", "internal/logs/logopt", // reading logs; what --log-opt means
		"internal/state", "internal/sys",
	},

	"internal/networks": { // what commands do with networks
		"internal/network", "internal/network/ipam", "internal/network/client", "internal/network/wire",
		"internal/roster", "internal/filter", "internal/journal", "internal/host", "internal/state", "internal/errdef",
	},

	"internal/roster": {"internal/errdef", "internal/health", "internal/shim", "internal/filter", "internal/network", "internal/state"}, // shim: the status it writes; network: which ports it got

	"internal/doctor": { // looks at what every mechanism below stands on
		"internal/roster", "internal/cgroup", "internal/logind", "internal/disk", "internal/lsm", "internal/userns", "internal/config", "internal/host", "internal/state", "internal/sys",
	},

	// processes
	"internal/shim":    {"internal/network", "internal/network/wire", "internal/network/spawn", "internal/nsinit", "internal/foreign", "internal/cgroup", "internal/health", "internal/journal", "internal/logs", "internal/published", "internal/state", "internal/sys"}, // published: what others may know
	"internal/foreign": {"internal/nsinit", "internal/sys"},                                                                                                                                                                                                               // another runtime is entered by a program of ours
	"internal/runtime": {"internal/nsinit", "internal/sys"},
	"internal/nsinit":  {"internal/sys"},

	// mechanisms
	"internal/resources":         {"internal/cgroup", "internal/host"},                     // host: the numbers of block devices
	"internal/spec":              {"internal/network", "internal/seccomp", "internal/sys"}, // network: /etc/hosts has a container's addresses
	"internal/seccomp":           {"internal/state"},                                       // the cache of compiled profiles
	"internal/layer":             {"internal/recipe", "internal/tarhead", "internal/store", "internal/state", "internal/sys"},
	"internal/recipe":            {"internal/state", "internal/sys"},
	"internal/tarhead":           {},                                                                                                           // the formats of tar headers, which need no file
	"internal/store":             {"internal/filter", "internal/registry/ref", "internal/registry/platform", "internal/state", "internal/sys"}, // filter: what --filter of images means
	"internal/registry":          {"internal/registry/ref", "internal/registry/platform"},
	"internal/registry/ref":      {},
	"internal/registry/platform": {},
	"internal/cgroup":            {"internal/sys"},
	"internal/lsm":               {},
	"internal/systemd":           {"internal/cgroup"},                                       // limits in systemd's words, and the group that it has made
	"internal/logind":            {"internal/cgroup", "internal/systemd", "internal/state"}, // state: what has been said once
	"internal/hello":             {},
	"internal/health":            {},
	"internal/logs":              {},
	"internal/logs/logopt":       {"internal/logs"}, // apart, because the shim needs nothing of it
	"internal/inflate":           {},
	"internal/download":          {"internal/state", "internal/sys"},
	"internal/volume":            {"internal/errdef", "internal/filter", "internal/state", "internal/sys"},
	"internal/filter":            {},
	"internal/commit":            {"internal/change", "internal/layer", "internal/store"},
	"internal/change":            {},
	"internal/archive":           {"internal/inflate", "internal/layer", "internal/store", "internal/registry/ref", "internal/registry/platform", "internal/state", "internal/sys"}, // inflate: packed archives, and packed layers in them
	"internal/transfer":          {"internal/layer", "internal/userns", "internal/sys"},                                                                                             // userns: files of other ids
	"internal/inside":            {"internal/layer", "internal/store", "internal/userns", "internal/host", "internal/state", "internal/sys"},
	"internal/userns":            {"internal/host", "internal/nsinit", "internal/sys"}, // nsinit: namespaces are made and entered by processes
	"internal/stage":             {"internal/state"},
	"internal/config":            {"internal/host", "internal/proxies"},
	"internal/published":         {"internal/state"},
	"internal/listeners":         {},
	"internal/proxies":           {"internal/listeners"}, // which is on all addresses
	"internal/shared":            {"internal/state", "internal/store"},
	"internal/site":              {"internal/config"},
	"internal/host":              {"internal/sys"},
	"internal/journal":           {"internal/state"},
	"internal/prelude":           {}, // runs before Go does

	// networks: only the holder's program links what does the work
	"internal/network":          {},
	"internal/network/wire":     {"internal/network", "internal/state", "internal/errdef"}, // how a holder is found, and errors on their way
	"internal/network/spawn":    {"internal/nsinit"},                                       // commands and shims start the holder
	"internal/network/client":   {"internal/network", "internal/network/wire", "internal/network/spawn", "internal/userns", "internal/nsinit", "internal/host", "internal/stage", "internal/state", "internal/errdef", "internal/sys"},
	"internal/network/ipam":     {"internal/network", "internal/errdef"},
	"internal/network/link":     {"internal/network", "internal/sys"},
	"internal/network/firewall": {"internal/network", "internal/network/link", "internal/sys"},
	"internal/network/ports":    {"internal/network", "internal/listeners", "internal/sys"},
	"internal/network/names":    {"internal/network", "internal/sys"},
	"internal/network/uplink":   {"internal/network", "internal/network/link", "internal/sys"},
	"internal/network/holder": {
		"internal/network", "internal/network/wire", "internal/network/ipam", "internal/network/link", "internal/network/firewall",
		"internal/network/ports", "internal/network/names", "internal/network/uplink", "internal/listeners", "internal/published", "internal/state", "internal/errdef", "internal/sys",
	},

	"internal/version": {"internal/host"},
	"internal/disk":    {"internal/state", "internal/sys"},

	// floor
	"internal/errdef": {}, // kinds of errors
	"internal/state":  {"internal/sys"},
	"internal/sys":    {},
}

// workshop holds what is not part of the program: tests and what tests or
// generates. TestWorkshopStaysOut sees to it that none of it is linked.
var workshop = []string{"internal/architecture", "internal/registry/registrytest", "internal/seccomp/gen", "internal/userns/usernstest", "internal/network/networktest"}

// guest is an outside module, who may use it, and why it is let in.
type guest struct {
	reason string
	users  []string
}

var guests = map[string]guest{
	"golang.org/x/sys": {
		"Linux calls and constants that the standard library lacks",
		[]string{
			"cmd/berth",
			"cmd/berth-remote",
			"internal/archive",
			"internal/cgroup",
			"internal/cli/term",
			"internal/disk",
			"internal/doctor",
			"internal/download",
			"internal/engine",
			"internal/foreign",
			"internal/hello",
			"internal/host",
			"internal/inside",
			"internal/journal",
			"internal/layer",
			"internal/logs",
			"internal/lsm",
			"internal/network/holder",
			"internal/network/spawn",
			"internal/network/wire",
			"internal/network/names",
			"internal/network/firewall",
			"internal/network/link",
			"internal/network/ports",
			"internal/nsinit",
			"internal/oci",
			"internal/pull",
			"internal/published",
			"internal/push",
			"internal/recipe",
			"internal/remote/serve",
			"internal/roster",
			"internal/runtime",
			"internal/seccomp",
			"internal/shared",
			"internal/shim",
			"internal/spec",
			"internal/systemd",
			"internal/state",
			"internal/sys",
			"internal/transfer",
			"internal/network/uplink",
			"internal/userns",
			"internal/volume",
		},
	},
	"github.com/vishvananda/netlink": {
		"the kernel's messages about interfaces, addresses and routes; linked by the holder of networks only",
		[]string{"internal/network/link", "internal/network/firewall", "internal/network/ports", "internal/network/uplink"},
	},
	"gvisor.dev/gvisor": {
		"a TCP stack in user space: an account's containers reach the network through it; linked by the holder of networks only",
		[]string{"internal/network/uplink"},
	},
	"github.com/google/nftables": {
		"the kernel's messages about packet filters, so that no nft or iptables is needed",
		[]string{"internal/network/firewall", "internal/network/names"},
	},
	"github.com/mdlayher/netlink": {
		"the socket below nftables, on which a table is made that goes with it",
		[]string{"internal/network/firewall"},
	},
	"golang.org/x/net": {
		"messages of DNS (dnsmessage, which the standard library has, too, but keeps to itself)",
		[]string{"internal/network/names"},
	},
	"golang.org/x/term": {
		"raw mode and the size of the caller's terminal",
		[]string{"internal/cli/term"},
	},
	"github.com/spf13/cobra": {
		"Docker's command line is a cobra one: same help, same parsing, same completion",
		[]string{"internal/cli", "internal/cli/netcmd"},
	},
	"github.com/spf13/pflag": {
		"the flag types below cobra",
		[]string{"internal/cli", "internal/cli/netcmd", "internal/cli/opts"},
	},
	"github.com/moby/moby/api": {
		"Docker's own vocabulary, stored and printed as it is",
		[]string{"internal/commit", "internal/cli", "internal/cli/netcmd", "internal/cli/opts", "internal/cli/rows", "internal/engine", "internal/images", "internal/networks", "internal/roster", "internal/resources", "internal/pull", "internal/site", "internal/spec", "internal/volume", "internal/remote", "internal/remote/serve"},
	},
	"github.com/docker/go-units": {
		"sizes and durations as Docker reads and prints them",
		[]string{"internal/cli", "internal/cli/rows", "internal/cli/opts", "internal/cli/format", "internal/cli/progress", "internal/pull", "internal/engine", "internal/roster", "internal/logs/logopt", "internal/config", "internal/site"},
	},
	"github.com/opencontainers/runtime-spec": {
		"the OCI bundle: what spec makes and runtime reads",
		[]string{"internal/oci", "internal/spec", "internal/runtime", "internal/engine", "internal/seccomp"},
	},
	"github.com/moby/docker-image-spec": {
		"the image configuration as Docker writes it, part of its API types",
		[]string{"internal/commit", "internal/store", "internal/roster", "internal/change"},
	},
	"github.com/opencontainers/image-spec": {
		"descriptors and platforms, part of Docker's API types",
		[]string{"internal/commit", "internal/store", "internal/engine", "internal/cli"},
	},
	"github.com/opencontainers/go-digest": {
		"comes with Docker's API types",
		[]string{"internal/commit", "internal/engine", "internal/cli"},
	},
	"github.com/moby/profiles/seccomp": {
		"Docker's default list of system calls, from which ours is generated",
		[]string{"internal/seccomp/gen", "internal/userns/usernstest", "internal/network/networktest"},
	},
	"github.com/klauspost/compress": {
		"zstd layers; gzip where layers are packed",
		[]string{"internal/pull", "internal/push", "internal/layer", "internal/inflate", "internal/remote/serve"},
	},
}

// shimStage is what runs beside and inside every container. It must start in
// milliseconds and be readable in one evening, so only the standard library
// and x/sys come along.
var shimStage = []string{"internal/shim", "internal/nsinit", "internal/state", "internal/sys", "internal/cgroup", "internal/logs", "internal/journal", "internal/health", "internal/foreign", "internal/published", "internal/network", "internal/network/wire", "internal/network/spawn", "internal/errdef"}

type pkg struct {
	ImportPath string
	Dir        string
	Imports    []string
	Deps       []string
	GoFiles    []string
	Standard   bool
	Module     *struct{ Path string }
}

func (p pkg) room() string { return strings.TrimPrefix(p.ImportPath, "berth/") }

// load asks the go command for the packages that patterns name and, by path,
// for everything below them.
func load(t *testing.T, patterns ...string) (roots []pkg, all map[string]pkg) {
	t.Helper()
	args := append([]string{"list", "-deps", "-json=ImportPath,Dir,Imports,Deps,GoFiles,Standard,Module"}, patterns...)
	cmd := exec.Command("go", args...)
	cmd.Dir = "../.."
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, errs.String())
	}
	all = map[string]pkg{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
		if strings.HasPrefix(p.ImportPath, "berth/") {
			roots = append(roots, p)
		}
	}
	return roots, all
}

func TestImportsPointDown(t *testing.T) {
	roots, all := load(t, "./cmd/...", "./internal/...")
	for _, p := range roots {
		if slices.Contains(workshop, p.room()) {
			continue
		}
		allowed, known := rooms[p.room()]
		if !known {
			t.Errorf("%s is no room of the house: add it to the picture with its reason, or fold it into one", p.room())
			continue
		}
		for _, imp := range p.Imports {
			if all[imp].Standard {
				continue
			}
			if ours, ok := strings.CutPrefix(imp, "berth/"); ok {
				if !slices.Contains(allowed, ours) {
					t.Errorf("%s must not import %s", p.room(), ours)
				}
				continue
			}
			checkGuest(t, p, all[imp])
		}
	}
}

func checkGuest(t *testing.T, user, imported pkg) {
	if imported.Module == nil {
		t.Errorf("%s imports %s, which no module owns", user.room(), imported.ImportPath)
		return
	}
	g, ok := guests[imported.Module.Path]
	switch {
	case !ok:
		t.Errorf("%s imports %s: module %s is not on the list of guests", user.room(), imported.ImportPath, imported.Module.Path)
	case !slices.Contains(g.users, user.room()):
		t.Errorf("%s must not import %s (%s)", user.room(), imported.ImportPath, g.reason)
	}
}

// TestPictureHasNoCycle guards the table itself.
func TestPictureHasNoCycle(t *testing.T) {
	done := map[string]bool{}
	var visit func(room string, path []string)
	visit = func(room string, path []string) {
		if slices.Contains(path, room) {
			t.Fatalf("the picture has a circle: %s", strings.Join(append(path, room), " -> "))
		}
		if done[room] {
			return
		}
		for _, below := range rooms[room] {
			if _, ok := rooms[below]; !ok {
				t.Errorf("%s points to %s, which is not in the picture", room, below)
			}
			visit(below, append(path, room))
		}
		done[room] = true
	}
	for room := range rooms {
		visit(room, nil)
	}
}

func TestWorkshopStaysOut(t *testing.T) {
	_, all := load(t, "./cmd/berth")
	for _, room := range workshop {
		if _, linked := all["berth/"+room]; linked {
			t.Errorf("the program links %s, which is for tests", room)
		}
	}
	for path := range all {
		if path == "testing" || strings.HasPrefix(path, "net/http/httptest") {
			t.Errorf("the program links %s", path)
		}
	}
}

// TestEngineStaysLight: what nearly every command links must not bring the
// HTTP client or the reflection-heavy template engine to its start.
func TestEngineStaysLight(t *testing.T) {
	_, all := load(t, "./internal/engine")
	for _, heavy := range []string{"net/http", "crypto/tls", "text/template", "html/template", "go/ast"} {
		if p, ok := all["berth/internal/engine"]; ok && slices.Contains(p.Deps, heavy) {
			t.Errorf("internal/engine links %s, which every command then starts: move what needs it to a face or to pull", heavy)
		}
	}
}

func TestShimStageStandsAlone(t *testing.T) {
	var patterns []string
	for _, room := range shimStage {
		patterns = append(patterns, "./"+room)
	}
	_, all := load(t, patterns...)
	for _, p := range all {
		switch {
		case p.Standard:
			if p.ImportPath == "net/http" || p.ImportPath == "text/template" || p.ImportPath == "os/user" {
				t.Errorf("the shim stage links %s", p.ImportPath)
			}
		case p.Module != nil && p.Module.Path == "golang.org/x/sys":
		case slices.Contains(shimStage, p.room()):
		default:
			t.Errorf("the shim stage links %s, allowed are the standard library, x/sys and %s", p.ImportPath, strings.Join(shimStage, ", "))
		}
	}
}
