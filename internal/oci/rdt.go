package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Intel's Resource Director Technology (and AMD's equal) divides caches and the
// bandwidth of memory between groups of processes. A group is a folder of the
// file system resctrl: its schemata are the shares, its tasks the processes
// (kernel: filesystems/resctrl.rst).

const resctrl = "/sys/fs/resctrl"

// makeRdt makes the group that a configuration asks for and returns its folder
// if it is to go with the container.
func makeRdt(id string, s *specs.Spec) (string, error) {
	if s.Linux == nil || s.Linux.IntelRdt == nil {
		return "", nil
	}
	want := s.Linux.IntelRdt
	if !isResctrl() {
		return "", fmt.Errorf("intelRdt is specified in the configuration, and no resctrl file system is mounted at %s", resctrl)
	}
	shared := want.ClosID != ""
	name := id
	if shared {
		name = want.ClosID
	}
	if name == "." || name == ".." || strings.ContainsAny(name, "/\n\x00") || name == "info" || name == "mon_data" || name == "mon_groups" {
		return "", fmt.Errorf("invalid intelRdt.closID %q", name)
	}
	dir := filepath.Join(resctrl, name)
	schemata := want.Schemata
	for _, line := range []string{want.L3CacheSchema, want.MemBwSchema} {
		if line != "" {
			schemata = append(schemata, line)
		}
	}
	err := os.Mkdir(dir, 0o755)
	exists := errors.Is(err, fs.ErrExist)
	switch {
	case err != nil && !(exists && shared):
		return "", fmt.Errorf("cannot make the intelRdt group: %w", err)
	case exists && len(schemata) == 0:
		return "", nil // somebody else's, as it is
	}
	if err := writeSchemata(dir, schemata); err != nil {
		if !exists {
			os.Remove(dir)
		}
		return "", err
	}
	if exists {
		return "", nil
	}
	return dir, nil
}

func isResctrl() bool {
	var st unix.Statfs_t
	return unix.Statfs(resctrl, &st) == nil && int64(st.Type) == unix.RDTGROUP_SUPER_MAGIC
}

func writeSchemata(dir string, lines []string) error {
	for _, line := range lines {
		if err := writeControl(filepath.Join(dir, "schemata"), line+"\n"); err != nil {
			return fmt.Errorf("intelRdt schema %q: %w", line, err)
		}
	}
	return nil
}

// joinRdt puts a process into the group.
func joinRdt(dir string, pid int) error {
	if dir == "" {
		return nil
	}
	return writeControl(filepath.Join(dir, "tasks"), strconv.Itoa(pid))
}

func removeRdt(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the intelRdt group: %w", err)
	}
	return nil
}

// writeControl writes to a control file of the kernel, which takes one write.
func writeControl(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
