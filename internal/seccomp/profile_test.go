package seccomp

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	docker "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	tests := []struct{ text, want string }{
		{`{}`, ""},
		{`{"defaultAction":"SCMP_ACT_ALLOW"}`, ""},
		{`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"syscalls":null}`, ""},
		{`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"read","action":"SCMP_ACT_ALLOW"}]}`, ""},
		{`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["of_the_future"],"action":"SCMP_ACT_ALLOW"}]}`, ""},
		{`{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86","SCMP_ARCH_S390X"]}`, ""},
		{`{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":null}]}`, ""},
		{`{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_TSYNC"]}`, ""},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","includes":{"minKernel":"4.8"},"excludes":{"caps":["CAP_X"],"arches":["z80"]}}]}`, ""},

		{``, "decoding seccomp profile failed"},
		{`[]`, "decoding seccomp profile failed"},
		{`{"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}`, `unknown action ""`},
		{`{"defaultAction":"SCMP_ACT_PRAISE"}`, `unknown action "SCMP_ACT_PRAISE"`},
		{`{"defaultAction":"SCMP_ACT_NOTIFY"}`, "SCMP_ACT_NOTIFY is not supported"},
		{`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}`, "error number 4096 is out of range"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_NEW_LISTENER"]}`, "is not supported"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["Z80"]}`, `unknown architecture "Z80"`},
		{`{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"Z80"}]}`, `unknown architecture "Z80"`},
		{`{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["Z80"]}]}`, `unknown architecture "Z80"`},
		{`{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_X86"}],"architectures":["SCMP_ARCH_X86"]}`, "both 'architectures' and 'archMap'"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[null]}`, "rule 1 is null"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_LOG"}]}`, "rule 1: both 'name' and 'names'"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":[""],"action":"SCMP_ACT_LOG"}]}`, "a system call has no name"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]}`, "SCMP_ACT_NOTIFY is not supported"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}`, "a system call has no argument 6"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","args":[{"index":0,"op":"LIKE"}]}]}`, `unknown operator "LIKE"`},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","includes":{"minKernel":"4"}}]}`, `invalid kernel version "4"`},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","excludes":{"minKernel":"0.0"}}]}`, `invalid kernel version "0.0"`},
	}
	for _, tt := range tests {
		p, err := Parse([]byte(tt.text))
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: got %v, want %q", tt.text, err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if _, err := Compile(p, "amd64", nil, Kernel{6, 1}); err != nil {
			t.Errorf("%s: %v", tt.text, err)
		}
	}
}

func TestNothingToFilter(t *testing.T) {
	p, err := Parse([]byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	if prog, err := Compile(p, "amd64", nil, Kernel{}); err != nil || prog != nil {
		t.Errorf("got %d bytes, %v", len(prog), err)
	}
	if _, err := Compile(DefaultProfile(), "wasm", nil, Kernel{}); err == nil {
		t.Error("a filter for a machine nobody knows")
	}
}

func TestInstallFlags(t *testing.T) {
	for text, want := range map[string]uint32{
		`{"defaultAction":"SCMP_ACT_ALLOW"}`:                                       unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		`{"defaultAction":"SCMP_ACT_ALLOW","flags":[]}`:                            0,
		`{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"]}`:   unix.SECCOMP_FILTER_FLAG_LOG,
		`{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_TSYNC"]}`: 0,
	} {
		p, err := Parse([]byte(text))
		if err != nil || p.InstallFlags() != want {
			t.Errorf("%s: got %d, %v, want %d", text, p.InstallFlags(), err, want)
		}
	}
}

// TestFromOCI: what an engine has resolved for a machine gives the same filter
// as resolving it here.
func TestFromOCI(t *testing.T) {
	o := newOracle(docker.DefaultProfile(), "amd64", usualCaps, Kernel{6, 1})
	resolved := docker.DefaultProfile().LinuxSeccomp
	resolved.Architectures = []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}
	for _, r := range o.rules() {
		resolved.Syscalls = append(resolved.Syscalls, r.LinuxSyscall)
	}
	p, err := FromOCI(&resolved)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Compile(p, "amd64", nil, Kernel{})
	if err != nil {
		t.Fatal(err)
	}
	want, err := Default("amd64", usualCaps, Kernel{6, 1})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("different filters (%d and %d bytes), %v", len(got), len(want), err)
	}
	if _, err := FromOCI(&specs.LinuxSeccomp{DefaultAction: "x"}); err == nil {
		t.Error("no error")
	}
}

// FuzzParse: no text makes the compiler fall over, and what it compiles the
// kernel takes.
func FuzzParse(f *testing.F) {
	text, err := json.Marshal(docker.DefaultProfile())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"syscalls":[{"names":["socket","read"],"action":"SCMP_ACT_ERRNO","errnoRet":2,"args":[{"index":1,"value":4294967296,"valueTwo":5,"op":"SCMP_CMP_MASKED_EQ"},{"index":1,"value":3,"op":"SCMP_CMP_GE"}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			return
		}
		for _, goarch := range machines {
			prog, err := Compile(p, goarch, usualCaps, Kernel{5, 10})
			if err != nil || prog == nil {
				continue
			}
			if err := check(prog); err != nil {
				t.Fatalf("%s: %v", goarch, err)
			}
			for _, a := range machine(goarch) {
				for nr := range uint32(500) {
					if _, _, err := run(prog, &callData{nr: nr, arch: a.audit()}); err != nil {
						t.Fatalf("%s: %v", goarch, err)
					}
				}
			}
		}
	})
}
