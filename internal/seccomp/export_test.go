package seccomp

import (
	"bytes"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// What another runtime is told means the same: compiled by us it is the same
// filter.
func TestOCI(t *testing.T) {
	kernel := Kernel{6, 1}
	for _, caps := range [][]string{nil, {"CAP_SYS_ADMIN"}, {"CAP_BPF", "CAP_SYS_PTRACE"}} {
		for _, arch := range []string{"amd64", "arm64"} {
			want, err := Compile(DefaultProfile(), arch, caps, kernel)
			if err != nil {
				t.Fatal(err)
			}
			p, err := FromOCI(DefaultProfile().OCI(arch, caps, kernel))
			if err != nil {
				t.Fatal(err)
			}
			p.badArch = DefaultProfile().badArch // which the format cannot say
			got, err := Compile(p, arch, nil, Kernel{})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s %v: another filter (%d bytes, want %d)", arch, caps, len(got), len(want))
			}
		}
	}
	for _, a := range []specs.LinuxSeccompAction{specs.ActKillThread, specs.ActKillProcess, specs.ActTrap, specs.ActErrno, specs.ActTrace, specs.ActAllow, specs.ActLog} {
		n := uint(7)
		v, err := action(a, &n)
		if err != nil {
			t.Fatal(err)
		}
		if got, errno := actionName(v); got != a || errno != nil && *errno != n {
			t.Errorf("%s became %s %v", a, got, errno)
		}
	}
	if (&Profile{}).OCI("amd64", nil, kernel) != nil {
		t.Error("a profile that filters nothing filters")
	}
}
