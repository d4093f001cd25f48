package engine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"

	"berth/internal/shim"
)

// ContainerTop lists the processes of a running container. With ps arguments
// it shows the host's ps(1) cut down to them.
func (e *Engine) ContainerTop(ctx context.Context, ref string, psArgs []string) (container.TopResponse, error) {
	id, err := e.find(ref)
	if err != nil {
		return container.TopResponse{}, err
	}
	st, err := e.status(id)
	if err != nil {
		return container.TopResponse{}, err
	}
	if st.Phase != shim.Running {
		return container.TopResponse{}, notRunning(id)
	}
	pids := e.processes(id, st.Init.Pid)
	if len(psArgs) == 0 {
		psArgs = []string{"-ef"}
		if _, err := exec.LookPath("ps"); err != nil {
			return ownTop(pids), nil
		}
	}
	return psTop(ctx, pids, psArgs)
}

// processes finds the processes of a container: those in its cgroup, else
// those in the pid namespace of its first process.
func (e *Engine) processes(id string, first int) map[int]bool {
	pids := map[int]bool{}
	if b, err := e.bundle(id); err == nil && b.Group != nil {
		for _, p := range b.Group.Procs() {
			pids[p] = true
		}
	}
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", first))
	own, _ := os.Readlink("/proc/self/ns/pid")
	if len(pids) == 0 && err == nil && ns != own {
		entries, _ := os.ReadDir("/proc")
		for _, d := range entries {
			pid, err := strconv.Atoi(d.Name())
			if err != nil {
				continue
			}
			if l, err := os.Readlink("/proc/" + d.Name() + "/ns/pid"); err == nil && l == ns {
				pids[pid] = true
			}
		}
	}
	pids[first] = true
	return pids
}

func psTop(ctx context.Context, pids map[int]bool, args []string) (container.TopResponse, error) {
	var t container.TopResponse
	cmd := exec.CommandContext(ctx, "ps", args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return t, &Error{Kind: ErrInvalid, Text: "ps: " + strings.TrimSpace(errs.String()+" "+err.Error())}
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
		return t, &Error{Kind: ErrInvalid, Text: "Couldn't find PID field in ps output"}
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
		t.Processes = append(t.Processes, f)
	}
	return t, nil
}

// ownTop is for hosts without ps.
func ownTop(pids map[int]bool) container.TopResponse {
	t := container.TopResponse{Titles: []string{"UID", "PID", "PPID", "CMD"}}
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
		t.Processes = append(t.Processes, []string{field("Uid"), strconv.Itoa(pid), field("PPid"),
			strings.TrimSpace(strings.ReplaceAll(string(cmd), "\x00", " "))})
	}
	return t
}
