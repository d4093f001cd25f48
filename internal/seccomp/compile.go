package seccomp

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Verdicts that the tables use.
const (
	allow       = unix.SECCOMP_RET_ALLOW
	errnoBase   = unix.SECCOMP_RET_ERRNO
	killProcess = unix.SECCOMP_RET_KILL_PROCESS
	specAllow   = unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	noSuchCall  = errnoBase | uint32(unix.ENOSYS)
)

// Where the kernel shows a filter what it asks about.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// Compile makes the filter of a profile for a machine (GOARCH), a container
// with these capabilities in its bounding set, and a kernel. The answer is an
// array of struct sock_filter as seccomp(2) takes it, or nothing for a profile
// that filters nothing.
func Compile(p *Profile, goarch string, caps []string, kernel Kernel) ([]byte, error) {
	if !p.filters {
		return nil, nil
	}
	archs := machine(goarch)
	if archs == nil {
		return nil, fmt.Errorf("seccomp filters are not supported on %s", goarch)
	}
	c := &compiler{profile: p, covered: p.covered(archs)}
	c.asm.code = make([]insn, 0, 512)
	for i := range p.rules {
		r := &p.rules[i]
		if r.applies(archs[0], caps, kernel) {
			c.rules = append(c.rules, r)
		}
	}
	start := c.asm.ret(p.badArch)
	for _, part := range slices.Backward(parts(archs)) {
		entry, err := c.part(part)
		if err != nil {
			return nil, err
		}
		start = c.asm.jump(jumpEq, part[0].audit(), entry, start)
	}
	c.asm.then(opLoad, offsetArch, start)
	return c.asm.bytes()
}

type compiler struct {
	profile   *Profile
	rules     []*rule // those that apply
	covered   [archCount]bool
	decisions []decision
	asm       assembler
}

// decision is what becomes of a system call: the first of the rules whose
// conditions hold decides, else the verdict.
type decision struct {
	rules   []*rule
	verdict uint32
}

// covered tells which of a machine's architectures the profile lets through to
// its rules. The native one always is.
func (p *Profile) covered(archs []archID) [archCount]bool {
	var c [archCount]bool
	c[archs[0]] = true
	for _, set := range p.archs {
		if set.native == archs[0] {
			for _, a := range set.others {
				c[a] = true
			}
			break
		}
	}
	return c
}

// applies reports whether a rule exists on this machine for this container.
func (r *rule) applies(native archID, caps []string, kernel Kernel) bool {
	in, ex := &r.includes, &r.excludes
	has := func(c string) bool { return slices.Contains(caps, c) }
	lacks := func(c string) bool { return !has(c) }
	name := native.profileName()
	switch {
	case slices.Contains(ex.arches, name),
		slices.ContainsFunc(ex.caps, has),
		ex.kernel != Kernel{} && kernel.atLeast(ex.kernel),
		len(in.arches) > 0 && !slices.Contains(in.arches, name),
		slices.ContainsFunc(in.caps, lacks),
		!kernel.atLeast(in.kernel):
		return false
	}
	return true
}

// parts groups architectures by what the kernel calls them.
func parts(archs []archID) [][]archID {
	var out [][]archID
	for _, a := range archs {
		if n := len(out); n > 0 && out[n-1][0].audit() == a.audit() {
			out[n-1] = append(out[n-1], a)
		} else {
			out = append(out, []archID{a})
		}
	}
	return out
}

// part writes the part of the filter for one kind of calls.
func (c *compiler) part(archs []archID) (label, error) {
	if !slices.ContainsFunc(archs, func(a archID) bool { return c.covered[a] }) {
		return c.asm.ret(c.profile.badArch), nil
	}
	spans := c.spans(archs)
	e := emitter{compiler: c, narrow: archs[0].is32(), done: make([]label, len(c.decisions))}
	top, err := e.tree(spans)
	if err != nil {
		return 0, err
	}
	return c.asm.then(opLoad, offsetNumber, top), nil
}

// span is a range of numbers with the same fate, up to the next span's start.
type span struct {
	from     uint32
	decision int
}

// spans divides all numbers into ranges.
func (c *compiler) spans(archs []archID) []span {
	var out []span
	rest := c.unmentioned(archs)
	for _, m := range c.mentions(archs) {
		// What lies in front of the number.
		for len(rest) > 1 && rest[1].from <= m.nr {
			out = append(out, rest[0])
			rest = rest[1:]
		}
		if rest[0].from < m.nr {
			out = append(out, rest[0])
		}
		out = append(out, span{m.nr, m.decision})
		if rest[0].from = m.nr + 1; len(rest) > 1 && rest[1].from == m.nr+1 {
			rest = rest[1:]
		}
	}
	out = append(out, rest...)
	return slices.CompactFunc(out, func(a, b span) bool { return a.decision == b.decision })
}

// unmentioned are the ranges as they would be if no rule mentioned any call.
// Numbers beyond the newest call a strict profile knows do not exist for the
// container.
func (c *compiler) unmentioned(archs []archID) []span {
	def := c.decide(decision{verdict: c.profile.defaultAction})
	newer := def
	if c.strict() {
		newer = c.decide(decision{verdict: noSuchCall})
	}
	out := []span{{0, def}}
	add := func(from uint32, d int) { out = append(out, span{from, d}) }
	for _, a := range archs {
		switch {
		case a == x32 && !c.covered[x32]:
			// Whatever the default is, nothing of an architecture that
			// is not listed gets through.
			add(x32Bit, c.decide(decision{verdict: noSuchCall}))
			return out
		case a == x32:
			add(x32Bit, def)
		}
		if last, ok := c.newest(a); ok {
			add(last+1, newer)
		}
		if a == arm {
			add(armPrivate, def)
		}
	}
	return out
}

// strict reports whether the default refuses calls in a way that programs
// could mistake for something else than a missing call.
func (c *compiler) strict() bool {
	switch def := c.profile.defaultAction; def & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_LOG, unix.SECCOMP_RET_TRACE:
		return false
	default:
		return def != noSuchCall
	}
}

// newest returns the highest number any rule mentions.
func (c *compiler) newest(a archID) (uint32, bool) {
	highest, any := uint32(0), false
	for _, r := range c.rules {
		for _, i := range r.calls {
			if n, ok := calls[i].number(a); ok && (a != arm || n < armPrivate) {
				highest, any = max(highest, n), true
			}
		}
	}
	return highest, any
}

// mention is a number that rules mention, and what they decide about it.
type mention struct {
	nr       uint32
	decision int
}

// mentions lists the numbers rules mention, each once, in order.
func (c *compiler) mentions(archs []archID) []mention {
	// Number and place of the rule in one word: so sorting is quick, and
	// rules on the same call stay in order.
	all := make([]uint64, 0, 1024)
	for place := range len(c.rules) { // which multiplexed lengthens
		r := c.rules[place]
		if r.action == c.profile.defaultAction {
			continue // it changes nothing
		}
		for _, i := range r.calls {
			for _, a := range archs {
				if n, ok := calls[i].number(a); ok && c.covered[a] {
					all = append(all, uint64(n)<<32|uint64(place))
				}
			}
			if archs[0] == i386 && len(r.conds) == 0 {
				all = c.multiplexed(all, r, &calls[i])
			}
		}
	}
	slices.Sort(all)
	out := make([]mention, 0, len(all))
	for i := 0; i < len(all); {
		nr, n := uint32(all[i]>>32), i+1
		for n < len(all) && uint32(all[n]>>32) == nr {
			n++
		}
		out = append(out, mention{nr, c.decide(c.combine(all[i:n]))})
		i = n
	}
	return out
}

// combine is what several rules on one call come to.
func (c *compiler) combine(all []uint64) decision {
	d := decision{verdict: c.profile.defaultAction}
	for _, m := range all {
		r := c.rules[uint32(m)]
		if len(r.conds) == 0 {
			return decision{verdict: r.action}
		}
		d.rules = append(d.rules, r)
	}
	return d
}

// decide gives equal decisions one number.
func (c *compiler) decide(d decision) int {
	for i := range c.decisions {
		if c.decisions[i].verdict == d.verdict && slices.Equal(c.decisions[i].rules, d.rules) {
			return i
		}
	}
	c.decisions = append(c.decisions, d)
	return len(c.decisions) - 1
}

// multiplexed adds what a rule on a socket or System V call means for the two
// old calls through which 32-bit programs reach them too.
func (c *compiler) multiplexed(all []uint64, r *rule, called *call) []uint64 {
	if n := called.nr[i386]; n >= 0 && n < 337 || n > 402 {
		return all // most calls: the others have newer numbers, or none
	}
	through, number := multiplexer(called.name)
	if through == "" {
		return all
	}
	i, ok := callIndex(through)
	if !ok {
		return all
	}
	nr, _ := calls[i].number(i386)
	mask := uint64(0xffffffff)
	if through == "ipc" {
		mask = 0xffff // above it stands a version
	}
	c.rules = append(c.rules, &rule{
		action: r.action,
		conds:  []cond{{index: 0, op: opMasked, value: mask, two: number}},
	})
	return append(all, uint64(nr)<<32|uint64(len(c.rules)-1))
}

func multiplexer(name string) (through string, number uint64) {
	for i, n := range [...]string{
		1: "socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername",
		"socketpair", "send", "recv", "sendto", "recvfrom", "shutdown", "setsockopt",
		"getsockopt", "sendmsg", "recvmsg", "accept4", "recvmmsg", "sendmmsg",
	} {
		if n == name {
			return "socketcall", uint64(i)
		}
	}
	for i, n := range [...]string{
		1: "semop", 2: "semget", 3: "semctl", 4: "semtimedop",
		11: "msgsnd", 12: "msgrcv", 13: "msgget", 14: "msgctl",
		21: "shmat", 22: "shmdt", 23: "shmget", 24: "shmctl",
	} {
		if n == name {
			return "ipc", uint64(i)
		}
	}
	return "", 0
}
