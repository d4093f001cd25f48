package main

import (
	"bytes"
	"fmt"
	"go/format"
	"slices"
	"strings"

	docker "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// profileFile is the file with Docker's default profile as a Go value, which
// costs nothing until somebody reads it.
func profileFile(t table) ([]byte, error) {
	p := docker.DefaultProfile()
	var b bytes.Buffer
	b.WriteString(header)
	def, err := verdict(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	b.WriteString("// defaultProfile is Docker's default profile.\nvar defaultProfile = Profile{\nfilters: true,\n")
	fmt.Fprintf(&b, "defaultAction: %s,\nbadArch: killProcess,\nflags: specAllow,\narchs: []archSet{\n", def)
	for _, a := range p.ArchMap {
		native := archID(a.Arch)
		if native == "" {
			continue
		}
		var others []string
		for _, o := range a.SubArches {
			if id := archID(o); id != "" {
				others = append(others, id)
			}
		}
		fmt.Fprintf(&b, "{native: %s, others: []archID{%s}},\n", native, strings.Join(others, ", "))
	}
	b.WriteString("},\nrules: []rule{\n")
	var caps []string
	names := t.names()
	for _, r := range p.Syscalls {
		if err := writeRule(&b, r, names); err != nil {
			return nil, err
		}
		for _, f := range []*docker.Filter{r.Includes, r.Excludes} {
			if f != nil {
				caps = append(caps, f.Caps...)
			}
		}
	}
	b.WriteString("},\n}\n\n")
	slices.Sort(caps)
	fmt.Fprintf(&b, "// defaultCaps are the capabilities on which the default profile depends.\nvar defaultCaps = [...]string{\n%s}\n", quoted(slices.Compact(caps), ",\n"))
	return format.Source(b.Bytes())
}

func archID(a specs.Arch) string {
	switch a {
	case specs.ArchX86_64:
		return "amd64"
	case specs.ArchX32:
		return "x32"
	case specs.ArchX86:
		return "i386"
	case specs.ArchAARCH64:
		return "arm64"
	case specs.ArchARM:
		return "arm"
	}
	return ""
}

func writeRule(b *bytes.Buffer, r *docker.Syscall, names []string) error {
	v, err := verdict(r.Action, r.ErrnoRet)
	if err != nil {
		return err
	}
	var indexes, words []string
	for _, n := range r.Names {
		if i, ok := slices.BinarySearch(names, n); ok {
			indexes = append(indexes, fmt.Sprint(i))
			words = append(words, n)
		}
	}
	if len(indexes) == 0 {
		return nil // of other architectures
	}
	seen := make(map[uint]bool)
	for _, a := range r.Args {
		if seen[a.Index] {
			return fmt.Errorf("%v: conditions on one argument are not expected", r.Names)
		}
		seen[a.Index] = true
	}
	about := words[0]
	if len(words) > 1 {
		about += " to " + words[len(words)-1]
	}
	fmt.Fprintf(b, "{ // %s\ncalls: []uint16{%s},\naction: %s,\n", about, wrap(indexes), v)
	if len(r.Args) > 0 {
		b.WriteString("conds: []cond{")
		for _, a := range r.Args {
			op, err := operator(a.Op)
			if err != nil {
				return err
			}
			fmt.Fprintf(b, "{index: %d, op: %s, value: %#x, two: %#x},", a.Index, op, a.Value, a.ValueTwo)
		}
		b.WriteString("},\n")
	}
	writeCondition(b, "includes", r.Includes)
	writeCondition(b, "excludes", r.Excludes)
	b.WriteString("},\n")
	return nil
}

func writeCondition(b *bytes.Buffer, field string, f *docker.Filter) {
	if f == nil {
		return
	}
	fmt.Fprintf(b, "%s: condition{", field)
	if len(f.Caps) > 0 {
		fmt.Fprintf(b, "caps: []string{%s},", quoted(f.Caps, ","))
	}
	if len(f.Arches) > 0 {
		fmt.Fprintf(b, "arches: []string{%s},", quoted(f.Arches, ","))
	}
	if f.MinKernel != nil {
		fmt.Fprintf(b, "kernel: Kernel{%d, %d},", f.MinKernel.Kernel, f.MinKernel.Major)
	}
	b.WriteString("},\n")
}

func verdict(a specs.LinuxSeccompAction, errno *uint) (string, error) {
	switch a {
	case specs.ActAllow:
		return "allow", nil
	case specs.ActErrno:
		n := uint(1) // EPERM
		if errno != nil {
			n = *errno
		}
		return fmt.Sprintf("errnoBase | %d", n), nil
	}
	return "", fmt.Errorf("action %s is not expected", a)
}

func operator(op specs.LinuxSeccompOperator) (string, error) {
	switch op {
	case specs.OpEqualTo:
		return "opEqual", nil
	case specs.OpLessThan:
		return "opLess", nil
	case specs.OpMaskedEqual:
		return "opMasked", nil
	}
	return "", fmt.Errorf("operator %s is not expected", op)
}

func quoted(words []string, sep string) string {
	var b strings.Builder
	for _, w := range words {
		fmt.Fprintf(&b, "%q%s", w, sep)
	}
	return b.String()
}

// wrap lists numbers, many on a line.
func wrap(words []string) string {
	if len(words) < 16 {
		return strings.Join(words, ", ")
	}
	var b strings.Builder
	for i, w := range words {
		if i%16 == 0 {
			b.WriteString("\n")
		}
		b.WriteString(w + ", ")
	}
	return b.String() + "\n"
}
