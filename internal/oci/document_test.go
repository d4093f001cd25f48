package oci

import (
	"encoding/json"
	"reflect"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Every section that concerns Linux arrives, under the name it has.
func TestParseSpec(t *testing.T) {
	want := example()
	want.Domainname, want.Hooks = "d", &specs.Hooks{Poststop: []specs.Hook{{Path: "/x"}}}
	want.Annotations = map[string]string{"a": "b"}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseSpec(data)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	// A section that the library adds one day is decided about here.
	ours, theirs := reflect.TypeFor[document](), reflect.TypeFor[specs.Spec]()
	foreign := map[string]bool{"Solaris": true, "Windows": true, "VM": true, "ZOS": true, "FreeBSD": true}
	for i := range theirs.NumField() {
		name := theirs.Field(i).Name
		if _, ok := ours.FieldByName(name); !ok && !foreign[name] {
			t.Errorf("section %s is lost", name)
		}
	}
}
