package nettest

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMany starts many containers on one network at once: each has an address of
// its own and finds the others by name. Then all are killed, with what looks after
// them, and nothing stays.
func TestMany(t *testing.T) {
	n := 100
	if s := os.Getenv("BERTH_NET_MANY"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	hosts(t, func(h *host) {
		h.berth("network", "create", "many")
		var wait sync.WaitGroup
		slots := make(chan bool, 10)
		for i := range n {
			wait.Add(1)
			go func() {
				defer wait.Done()
				slots <- true
				defer func() { <-slots }()
				if out, err := h.try("run", "-d", "--name", fmt.Sprintf("c%d", i), "--network", "many", "-v", h.probe+":/probe:ro", "busybox", "/probe", "serve"); err != nil {
					h.t.Errorf("container %d: %v\n%s", i, err, out)
				}
			}()
		}
		wait.Wait()
		if h.t.Failed() {
			return
		}
		var names, ids []string
		for i := range n {
			names = append(names, fmt.Sprintf("tcp/c%d:80", i))
			ids = append(ids, fmt.Sprintf("c%d", i))
		}
		for name, answer := range h.calls("c0", names...) {
			if answer == "" && name != "" {
				h.t.Errorf("%s does not answer c0", name)
			}
		}
		h.addresses(ids)
		h.killAll(ids)
		h.clean()
		h.berth(append([]string{"rm", "-f"}, ids...)...)
		h.berth("network", "rm", "many")
	})
}

// TestAllKilled: when the holder dies with all the rest, only a bridge without
// ports and forwarding that is closed to strangers may stay, until the next
// container has come and gone.
func TestAllKilled(t *testing.T) {
	hosts(t, func(h *host) {
		h.berth("network", "create", "red")
		h.run("r1", "--network", "red", "-p", "8080:80")
		h.run("r2", "--network", "red")
		h.killAll([]string{"r1", "r2"}, h.holders()...)
		deadline := time.Now().Add(10 * time.Second)
		for left := ""; ; {
			left = strings.Join(h.kernel(), "\n")
			if !strings.Contains(left, "veth") && !strings.Contains(left, "table inet berth-") || strings.Contains(left, "table inet berth-forward") && strings.Count(left, "table") == 1 {
				break
			}
			if time.Now().After(deadline) {
				h.t.Fatalf("left with\n%s", left)
			}
		}
		h.run("r3", "--network", "red", "-p", "8080:80")
		if got := h.callsFrom(h.other, "tcp/"+hostAddr+":8080"); got["tcp/"+hostAddr+":8080"] != otherAddr {
			h.t.Errorf("the next one: %v", got)
		}
		h.berth("rm", "-f", "r1", "r2", "r3")
		h.berth("network", "rm", "red")
		h.clean()
	})
}

// addresses fails if one was given twice.
func (h *host) addresses(ids []string) {
	h.t.Helper()
	var all []struct {
		Name            string
		NetworkSettings struct {
			Networks map[string]struct{ IPAddress string }
		}
	}
	must(h.t, json.Unmarshal([]byte(h.berth(append([]string{"inspect"}, ids...)...)), &all))
	who := map[string]string{}
	for _, c := range all {
		for _, n := range c.NetworkSettings.Networks {
			if n.IPAddress == "" || who[n.IPAddress] != "" {
				h.t.Errorf("%s has the address %q, and so has %q", c.Name, n.IPAddress, who[n.IPAddress])
			}
			who[n.IPAddress] = c.Name
		}
	}
	if len(who) != len(ids) {
		h.t.Errorf("%d addresses for %d containers", len(who), len(ids))
	}
}

// killAll kills all processes of the containers, and others.
func (h *host) killAll(ids []string, pids ...int) {
	h.t.Helper()
	for _, line := range strings.Fields(h.berth(append([]string{"inspect", "--format", "{{.State.Pid}} {{.Id}}"}, ids...)...)) {
		if pid, err := strconv.Atoi(line); err == nil && len(line) < 64 {
			parent, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			fields := strings.Fields(string(parent[strings.LastIndexByte(string(parent), ')')+1:]))
			shim, _ := strconv.Atoi(fields[1])
			pids = append(pids, shim, pid)
		}
	}
	for _, pid := range pids {
		if pid > 1 && pid != os.Getpid() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// TestHolderKilled: containers keep their networks when what holds them is
// killed, and their ports and names come back.
func TestHolderKilled(t *testing.T) {
	hosts(t, func(h *host) {
		h.berth("network", "create", "red")
		h.run("r1", "--network", "red", "-p", "8080:80")
		h.run("r2", "--network", "red")
		was := h.berth("inspect", "--format", "{{json .NetworkSettings.Networks}}", "r1")
		held := h.holders()
		if len(held) != 1 {
			h.t.Fatalf("%d holders", len(held))
		}
		syscall.Kill(held[0], syscall.SIGKILL)
		var got map[string]string
		back := func() bool {
			got = h.calls("r2", "tcp/r1:80", "tcp/"+otherAddr+":80")
			got["port"] = h.callsFrom(h.other, "tcp/"+hostAddr+":8080")["tcp/"+hostAddr+":8080"]
			return got["tcp/r1:80"] != "" && got["tcp/"+otherAddr+":80"] == hostAddr && got["port"] == otherAddr
		}
		deadline := time.Now().Add(20 * time.Second)
		for !back() {
			if time.Now().After(deadline) {
				h.t.Fatalf("20 s after the holder was killed: %v", got)
			}
		}
		if is := h.berth("inspect", "--format", "{{json .NetworkSettings.Networks}}", "r1"); is != was {
			h.t.Errorf("r1 had\n%s\nand has\n%s", was, is)
		}
		h.run("r3", "--network", "red")
		if got := h.calls("r3", "tcp/r1:80"); got["tcp/r1:80"] == "" {
			h.t.Error("a new container does not reach an old one")
		}
		h.berth("rm", "-f", "r1", "r2", "r3")
		h.berth("network", "rm", "red")
		h.clean()
	})
}
