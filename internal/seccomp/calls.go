package seccomp

import (
	"slices"
	"strings"
)

// archID is an architecture as programs see it; a machine may have several.
type archID uint8

const (
	amd64 archID = iota
	x32          // 32-bit pointers on amd64
	i386
	arm64
	arm
	archCount
)

// call is a system call and its numbers.
type call struct {
	name string
	nr   [archCount]int32 // -1 where the architecture does not have it
}

const (
	// x32Bit marks a call by an x32 program, which is otherwise one of amd64.
	x32Bit = 0x40000000
	// armPrivate is where arm keeps calls that no other architecture has.
	armPrivate = 0xf0000
)

// number returns the number a filter sees.
func (c *call) number(a archID) (uint32, bool) {
	n := c.nr[a]
	if n < 0 {
		return 0, false
	}
	if a == x32 {
		return uint32(n) | x32Bit, true
	}
	return uint32(n), true
}

// callIndex finds a system call in the table.
func callIndex(name string) (int, bool) {
	return slices.BinarySearchFunc(calls[:], name, func(c call, name string) int {
		return strings.Compare(c.name, name)
	})
}

// is32 reports whether arguments are words of 32 bits.
func (a archID) is32() bool { return a == i386 || a == arm }

// profileName is what "includes" and "excludes" call a native architecture.
func (a archID) profileName() string {
	switch a {
	case amd64:
		return "amd64"
	case x32:
		return "x32"
	case i386:
		return "x86"
	case arm64:
		return "arm64"
	}
	return "arm"
}

// audit is the kernel's word for the kind of a call. Those of amd64 and x32
// differ in their numbers only.
func (a archID) audit() uint32 {
	switch a {
	case amd64, x32:
		return 0xc000003e
	case i386:
		return 0x40000003
	case arm64:
		return 0xc00000b7
	}
	return 0x40000028
}

// machine returns what programs a machine runs, the native kind first.
func machine(goarch string) []archID {
	switch goarch {
	case "amd64":
		return []archID{amd64, x32, i386}
	case "386":
		return []archID{i386}
	case "arm64":
		return []archID{arm64, arm}
	case "arm":
		return []archID{arm}
	}
	return nil
}
