package filter

import "testing"

func TestEvents(t *testing.T) {
	start := event{"container", "start", "0123456789ab", map[string]string{"name": "web", "image": "r.io:5000/app:v2", "tier": "front"}}
	probe := event{"container", "exec_create: sh -c x", "0123456789ab", map[string]string{"name": "web", "image": "app"}}
	tag := event{"image", "tag", "sha256:aa", map[string]string{"name": "app:v2"}}
	for _, c := range []struct {
		filters map[string][]string
		e       event
		want    bool
	}{
		{nil, start, true},
		{map[string][]string{"container": {"web"}}, start, true},
		{map[string][]string{"container": {"/web"}}, start, true},
		{map[string][]string{"container": {"0123"}}, start, true},
		{map[string][]string{"container": {"other", "web"}}, start, true},
		{map[string][]string{"container": {"we"}}, start, false},
		{map[string][]string{"container": {"app:v2"}}, tag, false},
		{map[string][]string{"event": {"start"}, "container": {"other"}}, start, false},
		{map[string][]string{"event": {"die", "start"}}, start, true},
		{map[string][]string{"event": {"exec_create"}}, probe, true},
		{map[string][]string{"event": {"exec_create: sh -c x"}}, probe, true},
		{map[string][]string{"event": {"exec"}}, probe, false},
		{map[string][]string{"image": {"r.io:5000/app"}}, start, true},
		{map[string][]string{"image": {"r.io:5000/app:v2"}}, start, true},
		{map[string][]string{"image": {"r.io"}}, start, false},
		{map[string][]string{"image": {"app"}}, tag, true},
		{map[string][]string{"image": {"sha256:aa"}}, tag, true},
		{map[string][]string{"label": {"tier"}}, start, true},
		{map[string][]string{"label": {"tier=front", "other"}}, start, false},
		{map[string][]string{"type": {"image"}}, start, false},
		{map[string][]string{"type": {"image", "container"}}, start, true},
		{map[string][]string{"scope": {"local"}}, start, true},
		{map[string][]string{"scope": {"swarm"}}, start, false},
	} {
		match, err := Events(c.filters)
		if err != nil {
			t.Fatal(err)
		}
		if got := match(c.e.typ, c.e.action, c.e.id, c.e.attributes); got != c.want {
			t.Errorf("%v of %s %s: %v", c.filters, c.e.typ, c.e.action, got)
		}
	}
	if _, err := Events(map[string][]string{"nonsense": {"x"}}); err == nil {
		t.Error("an unknown filter is accepted")
	}
}
