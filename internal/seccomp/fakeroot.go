package seccomp

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// FakeRoot is a filter that answers "done" to system calls which change owners
// and ids, and does nothing. It is for containers with a single user and group:
// there such calls could only fail, and most programs that make them (package
// managers above all) want to give files to somebody or lower their own rights,
// and would rather hear a lie than stop. Programs that check afterwards notice.
//
// All other calls pass, so it goes in addition to another filter. It has to be
// installed last: of filters that both return an error number the newest wins.
// The answer is empty on machines this package does not know.
func FakeRoot(goarch string) []byte {
	if builtinFakeRoot != "" && goarch == runtime.GOARCH {
		return []byte(builtinFakeRoot)
	}
	prog, err := Compile(FakeRootProfile(), goarch, nil, Kernel{})
	if err != nil {
		return nil
	}
	return prog
}

// done makes a call return 0 without being made.
const done = errnoBase | 0

// FakeRootProfile is what [FakeRoot] does as a profile.
func FakeRootProfile() *Profile {
	every := []archID{amd64, x32, i386, arm64, arm}
	p := &Profile{filters: true, defaultAction: allow, badArch: allow, flags: specAllow}
	for _, a := range every {
		p.archs = append(p.archs, archSet{a, every})
	}
	p.rules = append(p.rules,
		rule{action: done, calls: named(
			"chown", "chown32", "fchown", "fchown32", "lchown", "lchown32", "fchownat",
			"setuid", "setuid32", "setgid", "setgid32",
			"setreuid", "setreuid32", "setregid", "setregid32",
			"setresuid", "setresuid32", "setresgid", "setresgid32",
			"setgroups", "setgroups32", "capset")},
		// With -1 these only ask for the id in force. It is an int, so
		// what stands above it does not count.
		rule{action: done, calls: named("setfsuid", "setfsuid32", "setfsgid", "setfsgid32"),
			conds: []cond{{index: 0, op: opLowNotEqual, value: 0xffffffff}}})

	// Devices cannot be made without root; pipes and files can.
	for _, kind := range []uint64{unix.S_IFCHR, unix.S_IFBLK} {
		device := cond{op: opMasked, value: unix.S_IFMT, two: kind}
		device.index = 1
		p.rules = append(p.rules, rule{action: done, calls: named("mknod"), conds: []cond{device}})
		device.index = 2
		p.rules = append(p.rules, rule{action: done, calls: named("mknodat"), conds: []cond{device}})
	}
	return p
}

// named looks up system calls that are in the table.
func named(names ...string) []uint16 {
	out := make([]uint16, 0, len(names))
	for _, n := range names {
		if i, ok := callIndex(n); ok {
			out = append(out, uint16(i))
		}
	}
	return out
}
