package cli

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"

	"berth/internal/cli/format"
)

const (
	longID  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	someSHA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)

func TestPsTable(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	list := []container.Summary{
		{
			ID: longID, Names: []string{"/web"}, Image: "nginx:1.27", ImageID: someSHA, Command: `/docker-entrypoint.sh nginx -g "daemon off;"`,
			Created: now.Add(-3 * time.Hour).Unix(), State: "running", Status: "Up 3 hours", Labels: map[string]string{"role": "front"},
			Ports: []container.PortSummary{
				{IP: netip.MustParseAddr("0.0.0.0"), PrivatePort: 80, PublicPort: 80, Type: "tcp"},
				{PrivatePort: 443, Type: "tcp"},
			},
			Mounts: []container.MountPoint{
				{Type: mount.TypeVolume, Name: "a-volume-with-a-long-name", Driver: "local"},
				{Type: mount.TypeBind, Source: "/data"},
			},
			NetworkSettings: &container.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{"host": {}}},
			SizeRw:          1200, SizeRootFs: 5_000_000,
		},
		{ID: strings.Repeat("f", 64), Names: []string{"/old"}, Image: someSHA, ImageID: someSHA, Command: "sh", Created: now.Unix(), State: "exited", Status: "Exited (0) 1 second ago"},
	}
	for _, c := range []struct {
		format string
		trunc  bool
		want   string
	}{
		{"", true, `
CONTAINER ID   IMAGE          COMMAND                  CREATED                  STATUS                    PORTS                         NAMES
0123456789ab   nginx:1.27     "/docker-entrypoint.…"   3 hours ago              Up 3 hours                0.0.0.0:80->80/tcp, 443/tcp   web
ffffffffffff   aaaaaaaaaaaa   "sh"                     Less than a second ago   Exited (0) 1 second ago                                 old
`},
		{`{{.ID}} {{.Image}} {{.Command}} {{.Mounts}} {{.LocalVolumes}} {{.Networks}} {{.Size}} {{.Label "role"}} {{.State}}`, false, `
` + longID + ` nginx:1.27 "/docker-entrypoint.sh nginx -g \"daemon off;\"" a-volume-with-a-long-name,/data 1 host 1.2kB (virtual 5MB) front running
` + strings.Repeat("f", 64) + ` ` + someSHA + ` "sh"  0  0B  exited
`},
		{`{{.Mounts}}`, true, "\na-volume-with-…,/data\n\n"},
	} {
		rows := []psRow{}
		for _, s := range list {
			rows = append(rows, newPsRow(s, now, c.trunc))
		}
		var out strings.Builder
		if err := format.Rows(&out, rows, format.Options{Format: c.format, Columns: psColumns(false)}); err != nil {
			t.Fatal(err)
		}
		if got := "\n" + out.String(); got != c.want {
			t.Errorf("format %q prints%swant%s", c.format, got, c.want)
		}
	}
}

// TestPsJSON: programs look for these members.
func TestPsJSON(t *testing.T) {
	b, err := json.Marshal(newPsRow(container.Summary{ID: longID}, time.Now(), true))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"Command", "CreatedAt", "ID", "Image", "Labels", "LocalVolumes", "Mounts", "Names", "Networks", "Platform", "Ports", "RunningFor", "Size", "State", "Status"} {
		if !strings.Contains(string(b), `"`+key+`":`) {
			t.Errorf("%s is missing: %s", key, b)
		}
	}
}

func TestPortsText(t *testing.T) {
	v4, v6 := netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("::")
	for want, ports := range map[string][]container.PortSummary{
		"":                     nil,
		"80/tcp":               {{PrivatePort: 80, Type: "tcp"}},
		"80-82/tcp":            {{PrivatePort: 82, Type: "tcp"}, {PrivatePort: 81, Type: "tcp"}, {PrivatePort: 80, Type: "tcp"}},
		"53/tcp, 53/udp":       {{PrivatePort: 53, Type: "tcp"}, {PrivatePort: 53, Type: "udp"}},
		"0.0.0.0:8080->80/tcp": {{IP: v4, PrivatePort: 80, PublicPort: 8080, Type: "tcp"}},
		"0.0.0.0:80->80/tcp, [::]:80->80/tcp": {
			{IP: v4, PrivatePort: 80, PublicPort: 80, Type: "tcp"}, {IP: v6, PrivatePort: 80, PublicPort: 80, Type: "tcp"},
		},
		"0.0.0.0:80-81->80-81/tcp": {
			{IP: v4, PrivatePort: 80, PublicPort: 80, Type: "tcp"}, {IP: v4, PrivatePort: 81, PublicPort: 81, Type: "tcp"},
		},
		"0.0.0.0:9000->80/tcp, 0.0.0.0:9001->81/tcp": {
			{IP: v4, PrivatePort: 80, PublicPort: 9000, Type: "tcp"}, {IP: v4, PrivatePort: 81, PublicPort: 9001, Type: "tcp"},
		},
	} {
		if got := portsText(ports); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestImagesTable(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	digest := "sha256:" + strings.Repeat("d", 64)
	list := []image.Summary{
		{ID: someSHA, Created: now.Add(-50 * 24 * time.Hour).Unix(), Size: 30_123_456_789, SharedSize: -1, Containers: -1,
			RepoTags:    []string{"lmsysorg/sglang:latest", "lmsysorg/sglang:v1", "busybox:latest"},
			RepoDigests: []string{"lmsysorg/sglang@" + digest}},
		{ID: "sha256:" + longID, SharedSize: -1, RepoDigests: []string{"debian@" + digest}},
		{ID: "sha256:" + longID, SharedSize: -1},
	}
	for _, c := range []struct {
		digests, once bool
		want          string
	}{
		{false, false, `
REPOSITORY        TAG       IMAGE ID       CREATED       SIZE
lmsysorg/sglang   latest    aaaaaaaaaaaa   7 weeks ago   30.1GB
lmsysorg/sglang   v1        aaaaaaaaaaaa   7 weeks ago   30.1GB
busybox           latest    aaaaaaaaaaaa   7 weeks ago   30.1GB
debian            <none>    0123456789ab   N/A           0B
<none>            <none>    0123456789ab   N/A           0B
`},
		{false, true, `
REPOSITORY        TAG       IMAGE ID       CREATED       SIZE
lmsysorg/sglang   latest    aaaaaaaaaaaa   7 weeks ago   30.1GB
debian            <none>    0123456789ab   N/A           0B
<none>            <none>    0123456789ab   N/A           0B
`},
		{true, true, `
REPOSITORY        TAG       DIGEST                                                                    IMAGE ID       CREATED       SIZE
lmsysorg/sglang   latest    ` + digest + `   aaaaaaaaaaaa   7 weeks ago   30.1GB
debian            <none>    ` + digest + `   0123456789ab   N/A           0B
<none>            <none>    <none>                                                                    0123456789ab   N/A           0B
`},
	} {
		var out strings.Builder
		if err := format.Rows(&out, imageRows(list, now, true, c.digests, c.once), format.Options{Columns: imagesColumns(c.digests)}); err != nil {
			t.Fatal(err)
		}
		if got := "\n" + out.String(); got != c.want {
			t.Errorf("digests %v prints%swant%s", c.digests, got, c.want)
		}
	}
}

func TestHistoryTable(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	items := []image.HistoryResponseItem{
		{ID: someSHA, Created: now.Add(-time.Hour).Unix(), CreatedBy: "CMD [\"sh\"]", Comment: "buildkit"},
		{ID: "<missing>", CreatedBy: "RUN /bin/sh -c apt-get update && apt-get install -y something long", Size: 12_345_678},
	}
	var out strings.Builder
	var rows []historyRow
	for _, it := range items {
		rows = append(rows, newHistoryRow(it, now, true, true))
	}
	if err := format.Rows(&out, rows, format.Options{Columns: []string{"ID", "CreatedSince", "CreatedBy", "Size", "Comment"}}); err != nil {
		t.Fatal(err)
	}
	want := `IMAGE          CREATED             CREATED BY                                      SIZE      COMMENT
aaaaaaaaaaaa   About an hour ago   CMD ["sh"]                                      0B        buildkit
<missing>      N/A                 RUN /bin/sh -c apt-get update && apt-get ins…   12.3MB    
`
	if out.String() != want {
		t.Errorf("prints\n%swant\n%s", out.String(), want)
	}
	plain := newHistoryRow(items[1], now, false, false)
	if plain.Size != "12345678" || plain.CreatedBy != items[1].CreatedBy {
		t.Errorf("not for people: %+v", plain)
	}
}

func TestInfoText(t *testing.T) {
	in := &system.Info{
		Containers: 3, ContainersRunning: 1, ContainersStopped: 2, Images: 4, ServerVersion: "29.0.0", Driver: "overlay",
		DriverStatus: [][2]string{{"Backing Filesystem", "extfs"}}, SecurityOptions: []string{"name=seccomp,profile=builtin", "name=rootless"},
		MemTotal: 4 << 30, NCPU: 2,
	}
	got := infoText(information{Info: in, ClientInfo: &clientInfo{clientVersion: clientVersion{Version: "1.0", Context: "default"}}})
	for _, want := range []string{
		"Client:\n Version:    1.0\n Context:    default\n Debug Mode: false\n\nServer:\n Containers: 3\n  Running: 1\n",
		"\n Storage Driver: overlay\n  Backing Filesystem: extfs\n",
		"\n Security Options:\n  seccomp\n   Profile: builtin\n  rootless\n",
		"\n Total Memory: 4GiB\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the text lacks %q:\n%s", want, got)
		}
	}
}

func TestProxyEnv(t *testing.T) {
	c := clientConfig{Proxies: map[string]map[string]string{"default": {"httpProxy": "http://p:1", "noProxy": "localhost"}}}
	got := c.proxyEnv(func(name string) bool { return strings.EqualFold(name, "no_proxy") })
	if want := "HTTP_PROXY=http://p:1 http_proxy=http://p:1"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %s", got, want)
	}
}

func TestBuildTime(t *testing.T) {
	if got := buildTime("2025-05-30T12:07:14Z"); got != "Fri May 30 12:07:14 2025" {
		t.Errorf("got %s", got)
	}
	if got := buildTime("unknown"); got != "unknown" {
		t.Errorf("got %s", got)
	}
}
