package rows

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
		lines := []Container{}
		for _, s := range list {
			lines = append(lines, NewContainer(s, now, c.trunc))
		}
		var out strings.Builder
		if err := format.Rows(&out, lines, format.Options{Format: c.format, Columns: ContainerColumns(false)}); err != nil {
			t.Fatal(err)
		}
		if got := "\n" + out.String(); got != c.want {
			t.Errorf("format %q prints%swant%s", c.format, got, c.want)
		}
	}
}

// TestPsJSON: programs look for these members.
func TestPsJSON(t *testing.T) {
	b, err := json.Marshal(NewContainer(container.Summary{ID: longID}, time.Now(), true))
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
		if err := format.Rows(&out, Images(list, now, true, c.digests, c.once), format.Options{Columns: ImageColumns(c.digests)}); err != nil {
			t.Fatal(err)
		}
		if got := "\n" + out.String(); got != c.want {
			t.Errorf("digests %v prints%swant%s", c.digests, got, c.want)
		}
	}
}
