package oci

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// newUser returns the user namespace that the container gets for itself.
func newUser(s *specs.Spec) bool {
	if s.Linux == nil {
		return false
	}
	for _, n := range s.Linux.Namespaces {
		if n.Type == specs.UserNamespace {
			return n.Path == ""
		}
	}
	return false
}

// mapsByParent tells whether the id maps have to be written from outside. A
// process may map its own id by itself and no other (user_namespaces(7)).
func mapsByParent(s *specs.Spec) bool {
	if !newUser(s) {
		return false
	}
	alone := func(m []specs.LinuxIDMapping, id int) bool {
		return len(m) == 1 && m[0].Size == 1 && int(m[0].HostID) == id
	}
	return !alone(s.Linux.UIDMappings, os.Geteuid()) || !alone(s.Linux.GIDMappings, os.Getegid())
}

// writeMaps writes the id maps of a new user namespace: by ourselves as root,
// else by newuidmap(1) and newgidmap(1), which know from /etc/subuid and
// /etc/subgid what an account may have.
func writeMaps(pid int, l *specs.Linux) error {
	for _, m := range []struct {
		file, program string
		maps          []specs.LinuxIDMapping
	}{
		{"uid_map", "newuidmap", l.UIDMappings},
		{"gid_map", "newgidmap", l.GIDMappings},
	} {
		var lines []string
		for _, x := range m.maps {
			lines = append(lines, fmt.Sprintf("%d %d %d", x.ContainerID, x.HostID, x.Size))
		}
		path := fmt.Sprintf("/proc/%d/%s", pid, m.file)
		// The kernel takes a map in one write.
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(strings.Join(lines, "\n"))
			f.Close()
		}
		if err == nil {
			continue
		}
		if os.Geteuid() == 0 {
			return fmt.Errorf("cannot map ids of the container: %w", err)
		}
		if err := mapWith(m.program, pid, lines); err != nil {
			return err
		}
	}
	return nil
}

func mapWith(program string, pid int, lines []string) error {
	args := append([]string{strconv.Itoa(pid)}, strings.Fields(strings.Join(lines, " "))...)
	out, err := exec.Command(program, args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("mapping more than one id needs %s: install the package uidmap", program)
	} else if err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, strings.Join(strings.Fields(string(out)), " "))
	}
	return nil
}
