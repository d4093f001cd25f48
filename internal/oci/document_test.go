package oci

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Every section that concerns Linux arrives, under the name it has: a whole
// configuration with something in every field comes back as it was.
func TestParseSpec(t *testing.T) {
	want := new(specs.Spec)
	fill(reflect.ValueOf(want).Elem())
	want.Solaris, want.Windows, want.VM, want.ZOS, want.FreeBSD = nil, nil, nil, nil, nil
	for _, s := range []*specs.Spec{want, example(), {Version: "1"}, {Linux: &specs.Linux{}}, {Linux: &specs.Linux{Resources: &specs.LinuxResources{}}}} {
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseSpec(data)
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%s\ngot %+v, %v", data, got, err)
		}
	}
	if want.Linux.Resources.Memory.Limit == nil || len(want.Linux.Seccomp.Syscalls[0].Args) == 0 || want.Hooks.Prestart[0].Path == "" {
		t.Errorf("the example is not filled: %+v", want)
	}
}

func TestParseSpecNull(t *testing.T) {
	got, err := parseSpec([]byte(`{"ociVersion":"1","hooks":null,"linux":{"seccomp":null,"resources":{"memory":null,"pids":null}}}`))
	want := &specs.Spec{Version: "1", Linux: &specs.Linux{Resources: &specs.LinuxResources{}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestParseSpecErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{`, "unexpected end"},
		{`{"hooks": 1}`, "Hooks"},
		{`{"linux": {"seccomp": []}}`, "LinuxSeccomp"},
		{`{"linux": {"resources": {"memory": {"limit": "1"}}}}`, "limit"},
		{`{"linux": {"resources": 1}}`, "resources"},
	} {
		if _, err := parseSpec([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.text, err, c.want)
		}
	}
}

// fill puts something into every field of a value, and below it.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint8:
		v.SetUint(7)
	}
}
