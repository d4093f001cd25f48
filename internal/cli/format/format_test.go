package format

import (
	"strings"
	"testing"
	"time"
)

type row struct {
	ID     string `header:"CONTAINER ID"`
	Image  string
	Labels string

	labels map[string]string
}

func (r row) Label(name string) string { return r.labels[name] }

func rows() []row {
	return []row{
		{ID: "0123456789ab", Image: "busybox", Labels: "com.example.my-role=web", labels: map[string]string{"com.example.my-role": "web"}},
		{ID: "ba9876543210", Image: "registry.example.org/some/long:name"},
	}
}

func TestRows(t *testing.T) {
	for _, c := range []struct {
		format string
		quiet  bool
		want   string
	}{
		{"", false, `
CONTAINER ID   IMAGE
0123456789ab   busybox
ba9876543210   registry.example.org/some/long:name
`},
		{"table", true, `
0123456789ab
ba9876543210
`},
		{"", true, `
0123456789ab
ba9876543210
`},
		{"json", true, `
{"ID":"0123456789ab","Image":"busybox","Labels":"com.example.my-role=web"}
{"ID":"ba9876543210","Image":"registry.example.org/some/long:name","Labels":""}
`},
		{"{{.ID}}", false, `
0123456789ab
ba9876543210
`},
		{`{{.Image}}\t{{.ID}}`, false, `
busybox	0123456789ab
registry.example.org/some/long:name	ba9876543210
`},
		{`table {{.Image}}\t{{.Label "com.example.my-role"}}`, false, `
IMAGE                                 my role
busybox                               web
registry.example.org/some/long:name   
`},
		{`table {{upper .Image}}	{{truncate .ID 3}}`, false, `
IMAGE                                 CONTAINER ID
BUSYBOX                               012
REGISTRY.EXAMPLE.ORG/SOME/LONG:NAME   ba9
`},
		{`{{join (split .Image "/") "+"}} {{json .ID}} {{title .Image}} {{lower "A"}} {{pad .ID 1 2}}|`, false, `
busybox "0123456789ab" Busybox a  0123456789ab  |
registry.example.org+some+long:name "ba9876543210" Registry.Example.Org/Some/Long:Name a  ba9876543210  |
`},
		{"raw", false, `
id: 0123456789ab
id: ba9876543210
`},
	} {
		var out strings.Builder
		err := Rows(&out, rows(), Options{Format: c.format, Quiet: c.quiet, Key: "ID", Columns: []string{"ID", "Image"}, Raw: "id: {{.ID}}"})
		if err != nil {
			t.Errorf("%q: %v", c.format, err)
		}
		if got := "\n" + out.String(); got != c.want {
			t.Errorf("%q prints%swant%s", c.format, got, c.want)
		}
	}
}

func TestRowsErrors(t *testing.T) {
	for _, c := range []struct{ format, want string }{
		{"{{.ID", `failed to parse template: template: :1: unclosed action`},
		{"{{.Nothing}}", `failed to execute template: template: :1:2: executing "" at <.Nothing>: can't evaluate field Nothing: the fields are ID, Image, Labels`},
		{"table {{.Nothing}}", `failed to execute template: template: :1:2: executing "" at <.Nothing>: can't evaluate field Nothing: the fields are ID, Image, Labels`},
		{"{{.ID.Nothing}}", `failed to execute template: template: :1:5: executing "" at <.ID.Nothing>: can't evaluate field Nothing in type string`},
		{"{{nosuch .ID}}", `failed to parse template: template: :1: function "nosuch" not defined`},
	} {
		var out strings.Builder
		err := Rows(&out, rows(), Options{Format: c.format})
		if err == nil || err.Error() != c.want || out.Len() > 0 {
			t.Errorf("%q: %v, printed %q; want %s", c.format, err, out.String(), c.want)
		}
	}
}

func TestEmptyTable(t *testing.T) {
	var out strings.Builder
	if err := Rows(&out, []row{}, Options{Columns: []string{"ID", "Image"}}); err != nil {
		t.Fatal(err)
	}
	if out.String() != "CONTAINER ID   IMAGE\n" {
		t.Errorf("printed %q", out.String())
	}
}

type thing struct {
	ID    string `json:"Id"`
	Size  int64
	Inner *thing            `json:",omitempty"`
	Map   map[string]string `json:",omitempty"`
}

func TestInspect(t *testing.T) {
	things := []any{thing{ID: "<a>", Size: 12345678, Map: map[string]string{"k": "v"}}, thing{ID: "b", Inner: &thing{ID: "c"}}}
	for _, c := range []struct{ format, want string }{
		{"", `[
    {
        "Id": "<a>",
        "Size": 12345678,
        "Map": {
            "k": "v"
        }
    },
    {
        "Id": "b",
        "Size": 0,
        "Inner": {
            "Id": "c",
            "Size": 0
        }
    }
]
`},
		{"json", `[{"Id":"<a>","Size":12345678,"Map":{"k":"v"}},{"Id":"b","Size":0,"Inner":{"Id":"c","Size":0}}]` + "\n"},
		{"{{.ID}} {{.Size}}", "<a> 12345678\nb 0\n"},
		{"{{.Id}} {{.Size}}", "<a> 12345678\nb 0\n"},
		{"{{json .}}", `{"Id":"<a>","Size":12345678,"Map":{"k":"v"}}` + "\n" + `{"Id":"b","Size":0,"Inner":{"Id":"c","Size":0}}` + "\n"},
		{"{{with .Inner}}{{.ID}}{{end}}", "\nc\n"},
	} {
		var out strings.Builder
		if err := Inspect(&out, c.format, things); err != nil {
			t.Errorf("%q: %v", c.format, err)
		}
		if out.String() != c.want {
			t.Errorf("%q prints\n%swant\n%s", c.format, out.String(), c.want)
		}
	}
	var out strings.Builder
	err := Inspect(&out, "{{.Nothing}}", things)
	if err == nil || !strings.Contains(err.Error(), "template parsing error:") || out.Len() > 0 {
		t.Errorf("a missing field gave %v and printed %q", err, out.String())
	}
	if err := Inspect(&out, "", nil); err != nil || out.String() != "[]\n" {
		t.Errorf("no objects print %q, %v", out.String(), err)
	}
}

func TestWords(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for got, want := range map[string]string{
		Ago(now, now.Add(-3*time.Second)):      "3 seconds ago",
		Ago(now, now):                          "Less than a second ago",
		Ago(now, now.Add(-time.Hour)):          "About an hour ago",
		Ago(now, now.Add(-50*24*time.Hour)):    "7 weeks ago",
		Size(4278190080):                       "4.28GB",
		Size(0):                                "0B",
		ShortID("sha256:0123456789abcdef"):     "0123456789ab",
		ShortID("short"):                       "short",
		Shorten("exactly twenty chars", 20):    "exactly twenty chars",
		Shorten("more than twenty chars", 20):  "more than twenty ch…",
		Shorten("zwölf größere Öfen hier", 20): "zwölf größere Öfen …",
		Pairs(map[string]string{"b": "2", "a": "1", "com.example/x": "y"}): "a=1,b=2,com.example/x=y",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
