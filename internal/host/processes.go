package host

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// Table is a list of processes as ps(1) prints it.
type Table struct {
	Titles []string
	Rows   [][]string
}

// Processes shows what the machine's ps(1) says, called with args, of some
// processes. Without args it shows what is usual, even where there is no ps.
func Processes(ctx context.Context, pids map[int]bool, args []string) (Table, error) {
	var t Table
	if len(args) == 0 {
		args = []string{"-ef"}
		if _, err := exec.LookPath("ps"); err != nil {
			t.own(pids)
			return t, nil
		}
	}
	err := t.ps(ctx, pids, args)
	return t, err
}

func (t *Table) ps(ctx context.Context, pids map[int]bool, args []string) error {
	cmd := exec.CommandContext(ctx, "ps", args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return errors.New("ps: " + strings.TrimSpace(errs.String()+" "+err.Error()))
	}
	lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	t.Titles = strings.Fields(lines[0])
	col := -1
	for i, title := range t.Titles {
		if title == "PID" {
			col = i
		}
	}
	if col < 0 {
		return errors.New("Couldn't find PID field in ps output")
	}
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		if len(f) <= col {
			continue
		}
		if pid, err := strconv.Atoi(f[col]); err != nil || !pids[pid] {
			continue
		}
		if n := len(t.Titles); len(f) > n {
			f = append(f[:n-1:n-1], strings.Join(f[n-1:], " "))
		}
		t.Rows = append(t.Rows, f)
	}
	return nil
}

// own is for machines without ps.
func (t *Table) own(pids map[int]bool) {
	t.Titles = []string{"UID", "PID", "PPID", "CMD"}
	for pid := range pids {
		dir := "/proc/" + strconv.Itoa(pid)
		cmd, err := os.ReadFile(dir + "/cmdline")
		status, err2 := os.ReadFile(dir + "/status")
		if err != nil || err2 != nil {
			continue
		}
		field := func(name string) string {
			_, rest, _ := strings.Cut(string(status), "\n"+name+":")
			f := strings.Fields(rest)
			if len(f) == 0 {
				return ""
			}
			return f[0]
		}
		t.Rows = append(t.Rows, []string{field("Uid"), strconv.Itoa(pid), field("PPid"),
			strings.TrimSpace(strings.ReplaceAll(string(cmd), "\x00", " "))})
	}
}
