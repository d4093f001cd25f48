package engine

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"berth/internal/host"
	"berth/internal/shim"
)

// ContainerTop lists the processes of a running container. With ps arguments
// it shows the host's ps(1) cut down to them.
func (e *Engine) ContainerTop(ctx context.Context, ref string, psArgs []string) (container.TopResponse, error) {
	id, err := e.find(ref)
	if err != nil {
		return container.TopResponse{}, err
	}
	r, st, err := e.load(id)
	if err != nil {
		return container.TopResponse{}, err
	}
	if st.Phase == shim.Restarting {
		return container.TopResponse{}, restarting(id)
	}
	if !lives(st) {
		return container.TopResponse{}, notRunning(id)
	}
	pids := e.processes(id, st.Init.Pid)
	t, err := host.Processes(ctx, pids, psArgs)
	if err != nil {
		return container.TopResponse{}, &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	e.noteContainer(r, events.ActionTop)
	return container.TopResponse{Titles: t.Titles, Processes: t.Rows}, nil
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
