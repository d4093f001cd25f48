package seccomp

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	docker "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var machines = []string{"amd64", "386", "arm64", "arm"}

// usualCaps are those of a container without a wish of its own.
var usualCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD",
	"CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP",
	"CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// capSets are the usual capabilities, none, all, and the usual with each one
// the default profile looks at.
func capSets() [][]string {
	sets := [][]string{usualCaps, nil, append(slices.Clone(defaultCaps[:]), usualCaps...)}
	for _, c := range defaultCaps {
		sets = append(sets, append(slices.Clone(usualCaps), c))
	}
	return sets
}

// numbers are all numbers worth asking about on an architecture.
func numbers(a archID) []uint32 {
	var out []uint32
	bit := uint32(0)
	if a == x32 {
		bit = x32Bit
	}
	for n := range uint32(700) {
		out = append(out, n|bit)
	}
	for _, n := range []uint32{0xeffff, 0xf0000, 0xf0001, 0xf0002, 0xf0005, 0xf0006, 0xf0007, 1 << 20, x32Bit - 1} {
		out = append(out, n|bit)
	}
	if a != x32 {
		out = append(out, x32Bit, 1<<31, 1<<32-1)
	}
	return out
}

// samples are arguments near those a profile compares with.
func samples(p *docker.Seccomp, names string) []uint64 {
	out := []uint64{0, 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<63 + 5, 1<<64 - 1}
	for _, r := range p.Syscalls {
		for _, a := range r.Args {
			if slices.Contains(namesOf(r), names) {
				for _, v := range []uint64{a.Value, a.ValueTwo, ^a.Value} {
					out = append(out, v-1, v, v+1, v|1<<32, v|1<<40, v&(v-1), v^1<<33)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// compare asks filter and oracle about everything.
func compare(t *testing.T, o *oracle, prog []byte) {
	t.Helper()
	if err := check(prog); err != nil {
		t.Fatal(err)
	}
	ask := func(d callData) {
		want := o.verdict(&d)
		got, _, err := run(prog, &d)
		if err != nil {
			t.Fatalf("%s %v: %v", o.goarch, d, err)
		}
		if got != want {
			t.Fatalf("%s caps %v: call %d arch %#x args %#x: got %#x, want %#x", o.goarch, o.caps, d.nr, d.arch, d.args, got, want)
		}
	}
	for _, a := range machine(o.goarch) {
		for _, nr := range numbers(a) {
			d := callData{nr: nr, arch: a.audit()}
			ask(d)
			name := o.name[a][nr&^x32Bit]
			if !conditional(o.profile, name) {
				continue
			}
			s := samples(o.profile, name)
			for i := range d.args {
				for _, v := range s {
					d := d
					d.args[i] = v
					ask(d)
				}
			}
			rng := rand.New(rand.NewPCG(uint64(nr), uint64(a)))
			for range 200 {
				for i := range d.args {
					d.args[i] = s[rng.IntN(len(s))]
				}
				ask(d)
			}
		}
	}
	ask(callData{arch: 0x1234})
}

func conditional(p *docker.Seccomp, name string) bool {
	return slices.ContainsFunc(p.Syscalls, func(r *docker.Syscall) bool {
		return len(r.Args) > 0 && slices.Contains(namesOf(r), name)
	})
}

// TestDefaultProfile compares the default profile, in each form it has here,
// with what its JSON says: every number on every architecture with every set of
// capabilities that matters.
func TestDefaultProfile(t *testing.T) {
	text, err := json.Marshal(docker.DefaultProfile())
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, goarch := range machines {
		for i, caps := range capSets() {
			for _, kernel := range []Kernel{{4, 4}, {6, 1}} {
				if kernel.Major == 4 && i > 2 {
					continue
				}
				prog, err := Default(goarch, caps, kernel)
				if err != nil {
					t.Fatal(err)
				}
				o := newOracle(docker.DefaultProfile(), goarch, caps, kernel)
				compare(t, o, prog)
				again, err := Compile(parsed, goarch, caps, kernel)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(prog, again) {
					t.Errorf("%s %v: the table and the JSON give different filters", goarch, caps)
				}
			}
		}
	}
}

// TestBuiltin is about the filter that is part of the program.
func TestBuiltin(t *testing.T) {
	if !usual(usualCaps) {
		t.Error("the usual capabilities are unusual")
	}
	for _, c := range defaultCaps {
		if with := append(slices.Clone(usualCaps), c); c != "CAP_SYS_CHROOT" && usual(with) {
			t.Errorf("%s makes no difference", c)
		}
	}
	if usual(nil) {
		t.Error("chroot makes no difference")
	}
	if builtin == "" {
		t.Fatal("there is none for this architecture: add it to package gen")
	}
}

// TestShort: a filter is run for each system call, so few instructions have to
// do for the usual ones.
func TestShort(t *testing.T) {
	prog, err := Default("amd64", usualCaps, Kernel{6, 1})
	if err != nil {
		t.Fatal(err)
	}
	o := newOracle(docker.DefaultProfile(), "amd64", usualCaps, Kernel{6, 1})
	worst := 0
	for nr := range uint32(512) {
		_, steps, err := run(prog, &callData{nr: nr, arch: amd64.audit()})
		if err != nil {
			t.Fatal(err)
		}
		if name := o.name[amd64][nr]; !conditional(docker.DefaultProfile(), name) {
			worst = max(worst, steps)
		}
	}
	if worst > 16 {
		t.Errorf("%d instructions for a system call", worst)
	}
	t.Logf("%d instructions in all, at most %d for a call without conditions", len(prog)/8, worst)
}

// TestRandomProfiles compares made-up profiles with the oracle.
func TestRandomProfiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 400 {
		p := randomProfile(rng)
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		goarch := machines[i%len(machines)]
		prog, err := Compile(parsed, goarch, usualCaps, Kernel{5, 10})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if err := check(prog); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		o := newOracle(p, goarch, usualCaps, Kernel{5, 10})
		for _, a := range machine(goarch) {
			for range 1500 {
				c := calls[rng.IntN(len(calls))]
				nr, ok := c.number(a)
				if !ok || rng.IntN(8) == 0 {
					nr = rng.Uint32N(600)
				}
				d := callData{nr: nr, arch: a.audit()}
				s := samples(p, c.name)
				for i := range d.args {
					d.args[i] = s[rng.IntN(len(s))]
				}
				got, _, err := run(prog, &d)
				if err != nil {
					t.Fatal(err)
				}
				if want := o.verdict(&d); got != want {
					t.Fatalf("%s\n%s: call %d arch %#x args %#x: got %#x, want %#x", text, goarch, d.nr, d.arch, d.args, got, want)
				}
			}
		}
	}
}

func randomProfile(rng *rand.Rand) *docker.Seccomp {
	pick := func(list ...specs.LinuxSeccompAction) specs.LinuxSeccompAction { return list[rng.IntN(len(list))] }
	act := func() specs.LinuxSeccompAction {
		return pick(specs.ActAllow, specs.ActErrno, specs.ActLog, specs.ActKillProcess, specs.ActTrap, specs.ActKillThread, specs.ActTrace)
	}
	p := &docker.Seccomp{}
	p.DefaultAction = act()
	if rng.IntN(2) == 0 {
		p.Architectures = []specs.Arch{specs.ArchX86, specs.ArchARM, specs.ArchPPC64}
	}
	ops := []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpMaskedEqual}
	values := []uint64{0, 1, 2, 3, 7, 0xff, 0x7e020000, 1<<32 - 1, 1 << 32, 5<<32 | 7, 1 << 63, 1<<64 - 1}
	for range rng.IntN(30) {
		r := &docker.Syscall{}
		for range 1 + rng.IntN(20) {
			// The multiplexed calls of i386 are not the oracle's matter.
			c := calls[rng.IntN(len(calls))]
			if through, _ := multiplexer(c.name); through == "" && c.name != "sync_file_range2" {
				r.Names = append(r.Names, c.name)
			}
		}
		r.Action = act()
		if n := uint(rng.IntN(100)); rng.IntN(2) == 0 {
			r.ErrnoRet = &n
		}
		if rng.IntN(3) > 0 {
			for range 1 + rng.IntN(4) {
				a := specs.LinuxSeccompArg{Index: uint(rng.IntN(6)), Op: ops[rng.IntN(len(ops))], Value: values[rng.IntN(len(values))]}
				if a.Op == specs.OpMaskedEqual {
					a.ValueTwo = values[rng.IntN(len(values))]
					if rng.IntN(2) == 0 {
						a.ValueTwo &= a.Value
					}
				}
				r.Args = append(r.Args, a)
			}
		}
		if len(r.Names) > 0 {
			p.Syscalls = append(p.Syscalls, r)
		}
	}
	return p
}

// TestLongJumps: a profile whose parts are so long that no conditional jump
// reaches over them.
func TestLongJumps(t *testing.T) {
	p := &docker.Seccomp{ArchMap: docker.DefaultProfile().ArchMap}
	p.DefaultAction = specs.ActErrno
	for i, c := range calls {
		if i%2 == 0 || c.name == "sync_file_range2" {
			continue
		}
		r := &docker.Syscall{}
		r.Names = []string{c.name}
		r.Action = specs.ActErrno
		n := uint(i)
		r.ErrnoRet = &n // every call has an end of its own
		if i%5 == 0 {
			r.Args = []specs.LinuxSeccompArg{{Index: 2, Value: uint64(i) << 30, Op: specs.OpGreaterThan}}
		}
		p.Syscalls = append(p.Syscalls, r)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, goarch := range machines {
		prog, err := Compile(parsed, goarch, nil, Kernel{6, 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d instructions", goarch, len(prog)/8)
		compareWithout386Multiplexer(t, newOracle(p, goarch, nil, Kernel{6, 1}), prog)
	}
}

// compareWithout386Multiplexer is compare for profiles that name sockets
// without socketcall, of whose meaning the oracle knows nothing.
func compareWithout386Multiplexer(t *testing.T, o *oracle, prog []byte) {
	t.Helper()
	if o.goarch == "arm64" || o.goarch == "arm" {
		compare(t, o, prog)
		return
	}
	for _, nr := range numbers(amd64) {
		if o.goarch != "amd64" {
			break
		}
		for _, arg := range []uint64{0, uint64(nr) << 30, uint64(nr)<<30 + 1, 1<<64 - 1} {
			d := callData{nr: nr, arch: amd64.audit(), args: [6]uint64{2: arg}}
			got, _, err := run(prog, &d)
			if want := o.verdict(&d); err != nil || got != want {
				t.Fatalf("call %d: got %#x, %v, want %#x", nr, got, err, want)
			}
		}
	}
	if err := check(prog); err != nil {
		t.Fatal(err)
	}
}

func TestTooLong(t *testing.T) {
	var rules []string
	for i := range 3000 {
		rules = append(rules, fmt.Sprintf(`{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":%d,"args":[{"index":%d,"value":%d,"op":"SCMP_CMP_EQ"}]}`, 2+i%1000, i%6, uint64(i)<<31))
	}
	p, err := Parse([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[` + strings.Join(rules, ",") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Compile(p, "amd64", nil, Kernel{}); err != errTooLong {
		t.Errorf("got %v", err)
	}
}

// TestMultiplexed: a rule on a socket call holds for the old way in as well.
func TestMultiplexed(t *testing.T) {
	p, err := Parse([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"syscalls":[
		{"names":["socket","shmget"],"action":"SCMP_ACT_ERRNO"},
		{"names":["bind"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	prog, err := Compile(p, "amd64", nil, Kernel{})
	if err != nil {
		t.Fatal(err)
	}
	const eperm = unix.SECCOMP_RET_ERRNO | 1
	for _, tt := range []struct {
		nr   uint32
		arg  uint64
		want uint32
	}{
		{359, 0, eperm},          // socket
		{102, 1, eperm},          // socketcall(SYS_SOCKET)
		{102, 2, allow},          // socketcall(SYS_BIND): depends on what the filter cannot see
		{102, 0, allow},          //
		{117, 23, eperm},         // ipc(SHMGET)
		{117, 1<<16 | 23, eperm}, // the same, another version
		{117, 24, allow},         // ipc(SHMCTL)
		{395, 0, eperm},          // shmget
		{361, 1, eperm},          // bind
		{361, 2, allow},          //
	} {
		got, _, err := run(prog, &callData{nr: tt.nr, arch: i386.audit(), args: [6]uint64{tt.arg}})
		if err != nil || got != tt.want {
			t.Errorf("%d(%d): got %#x, %v, want %#x", tt.nr, tt.arg, got, err, tt.want)
		}
	}
}

func TestFakeRoot(t *testing.T) {
	const done = unix.SECCOMP_RET_ERRNO
	var minus1 uint64 = 0xffffffff
	for _, goarch := range machines {
		prog := FakeRoot(goarch)
		if err := check(prog); err != nil {
			t.Fatal(err)
		}
		faked := []string{
			"chown", "fchown", "lchown", "fchownat", "chown32", "fchown32", "lchown32",
			"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups",
			"setuid32", "setgid32", "setreuid32", "setregid32", "setresuid32", "setresgid32", "setgroups32",
			"setfsuid", "setfsgid", "setfsuid32", "setfsgid32", "capset",
		}
		for _, a := range machine(goarch) {
			ask := func(c *call, args ...uint64) uint32 {
				nr, _ := c.number(a)
				d := callData{nr: nr, arch: a.audit()}
				copy(d.args[:], args)
				got, _, err := run(prog, &d)
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			for i := range calls {
				c := &calls[i]
				if _, ok := c.number(a); !ok {
					continue
				}
				want := uint32(allow)
				if slices.Contains(faked, c.name) {
					want = done
				}
				if got := ask(c, 1, 2, 3); got != want {
					t.Errorf("%s %s: got %#x, want %#x", goarch, c.name, got, want)
				}
				switch c.name {
				case "setfsuid", "setfsuid32", "setfsgid", "setfsgid32":
					if ask(c, minus1) != allow || ask(c, 1<<64-1) != allow || ask(c, 0) != done {
						t.Errorf("%s %s: -1 must pass", goarch, c.name)
					}
				case "mknod", "mknodat":
					for mode, want := range map[uint64]uint32{
						unix.S_IFCHR | 0o666: done, unix.S_IFBLK | 0o600: done,
						unix.S_IFIFO | 0o666: allow, unix.S_IFREG | 0o666: allow, unix.S_IFSOCK: allow, 0o666: allow,
					} {
						got := ask(c, 1, mode, 0)
						if c.name == "mknodat" {
							got = ask(c, 1, 2, mode)
						}
						if got != want {
							t.Errorf("%s %s %o: got %#x, want %#x", goarch, c.name, mode, got, want)
						}
					}
				}
			}
			for _, nr := range []uint32{9999, 1<<32 - 1} {
				if got, _, _ := run(prog, &callData{nr: nr, arch: a.audit()}); got != allow {
					t.Errorf("%s %d: got %#x", goarch, nr, got)
				}
			}
		}
		if got, _, _ := run(prog, &callData{arch: 1}); got != allow {
			t.Errorf("%s, foreign: got %#x", goarch, got)
		}
		t.Logf("%s: %d instructions", goarch, len(prog)/8)
	}
	if FakeRoot("wasm") != nil {
		t.Error("a filter for a machine nobody knows")
	}
}

func BenchmarkDefault(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Default("amd64", usualCaps, Kernel{6, 1}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(DefaultProfile(), "amd64", usualCaps, Kernel{6, 1}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFakeRoot(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		FakeRoot("amd64")
	}
}

func BenchmarkParse(b *testing.B) {
	text, err := json.Marshal(docker.DefaultProfile())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
