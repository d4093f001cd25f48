package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"

	"berth/internal/cli/format"
)

const (
	longID  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	someSHA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)

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

func TestBuildTime(t *testing.T) {
	if got := buildTime("2025-05-30T12:07:14Z"); got != "Fri May 30 12:07:14 2025" {
		t.Errorf("got %s", got)
	}
	if got := buildTime("unknown"); got != "unknown" {
		t.Errorf("got %s", got)
	}
}
