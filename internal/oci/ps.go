package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

func psVerb() *verb {
	format := "table"
	v := &verb{name: "ps", words: "<container-id> [ps options]", min: 1, max: -1, first: true, help: "list a container's processes"}
	v.options.text(&format, "format,f", "FORMAT", "'table' or 'json' (default: table)")
	v.run = func(a *app, words []string) error {
		c, err := a.load(words[0])
		if err != nil {
			return err
		}
		pids := c.processes()
		switch format {
		case "json":
			return json.NewEncoder(a.Stdout).Encode(pids)
		case "table":
			return a.psTable(pids, words[1:])
		}
		return errors.New("invalid format option")
	}
	return v
}

// processes are the numbers of the container's processes.
func (c *container) processes() []int {
	if c.Group != nil && len(c.Group.Dirs) > 0 {
		return c.Group.Procs()
	}
	if _, ok := look(c.Init); ok {
		return []int{c.Init.Pid}
	}
	return nil
}

// psTable shows those lines of ps(1) that are of the container.
func (a *app) psTable(pids []int, args []string) error {
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	out, err := exec.Command("ps", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ps: %w: %s", err, strings.Join(strings.Fields(string(out)), " "))
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	column := slices.Index(strings.Fields(lines[0]), "PID")
	if column < 0 {
		return errors.New("couldn't find PID field in ps output")
	}
	fmt.Fprintln(a.Stdout, lines[0])
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		if len(f) <= column {
			continue
		}
		pid, err := strconv.Atoi(f[column])
		if err != nil {
			return fmt.Errorf("unable to parse pid: %w", err)
		}
		if slices.Contains(pids, pid) {
			fmt.Fprintln(a.Stdout, line)
		}
	}
	return nil
}
