package config

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	units "github.com/docker/go-units"
)

func TestSite(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Site
		err        string
	}{
		{name: "all", text: `{"name-pattern": "{user}-{name}", "shm-size": "1g", "mounts": ["/srv/models:/models:ro", "~/{user}:/home"],
			"limits": {"memory": "8g", "cpus": 1.5, "pids-limit": 100, "ulimits": ["nofile=1024:4096"]}, "image-stores": ["/srv/berth"], "publish": false}`,
			want: Site{NamePattern: "{user}-{name}", ShmSize: 1 << 30, Mounts: []string{"/srv/models:/models:ro", "~/{user}:/home"},
				Limits:      Limits{Memory: 8 << 30, NanoCPUs: 1.5e9, Pids: 100, Ulimits: []*units.Ulimit{{Name: "nofile", Soft: 1024, Hard: 4096}}},
				ImageStores: []string{"/srv/berth"}, Private: true}},
		{name: "numbers", text: `{"shm-size": 4096, "limits": {"memory": 1048576, "cpus": 2}, "publish": true}`,
			want: Site{ShmSize: 4096, Limits: Limits{Memory: 1 << 20, NanoCPUs: 2e9}}},
		{name: "pattern without a name", text: `{"name-pattern": "{user}"}`, err: `name-pattern: "{user}" must have {name} in it, once`},
		{name: "pattern with a slash", text: `{"name-pattern": "{user}/{name}"}`, err: `name-pattern: "{user}/{name}" may have only`},
		{name: "pattern with a dash first", text: `{"name-pattern": "-{name}"}`, err: `must begin with a letter`},
		{name: "pattern with another word", text: `{"name-pattern": "{group}-{name}"}`, err: `may have only {user}, {name}`},
		{name: "no size", text: `{"shm-size": "big"}`, err: `shm-size must be a size, as in "8g"`},
		{name: "no memory", text: `{"limits": {"memory": -1}}`, err: `limits.memory must be a size, as in "8g"`},
		{name: "no processors", text: `{"limits": {"cpus": 0}}`, err: "limits.cpus must be a number of processors"},
		{name: "processors as a string", text: `{"limits": {"cpus": "4"}}`, err: "limits.cpus must be a number of processors, as in 1.5"},
		{name: "not a number of processors", text: `{"limits": {"cpus": null}}`, err: "limits.cpus must be a number of processors"},
		{name: "no processes", text: `{"limits": {"pids-limit": 0}}`, err: "limits.pids-limit must be more than 0"},
		{name: "unknown limit", text: `{"limits": {"gpus": 1}}`, err: `unknown key "limits.gpus" (known: memory, cpus, pids-limit, ulimits)`},
		{name: "unknown ulimit", text: `{"limits": {"ulimits": ["files=1"]}}`, err: "limits.ulimits: invalid ulimit type: files"},
		{name: "volume", text: `{"mounts": ["models:/models"]}`, err: `mounts: the source in "models:/models" must begin with / or ~`},
		{name: "relative destination", text: `{"mounts": ["/models:models"]}`, err: `mounts: "/models:models" is not source:destination`},
		{name: "relative store", text: `{"image-stores": ["berth"]}`, err: `image-stores: "berth" must be an absolute path`},
		{name: "publish", text: `{"publish": "no"}`, err: "publish must be true or false"},
	} {
		got, err := Load(put(t, filepath.Join(t.TempDir(), "config.json"), c.text))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want …%s…", c.name, err, c.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, Config{Site: c.want}) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}
