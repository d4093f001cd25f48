package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test program plays several parts, told by this variable: itself, the
// first process of a container, and the first process of a whole machine.
const roleVar = "BERTH_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case "join":
		join()
	case "eat":
		eat()
	case "spin":
		for end := time.Now().Add(time.Second); time.Now().Before(end); {
		}
	case "machine":
		machine() // does not return
	default:
		os.Exit(m.Run())
	}
}

// join does what the first process of a container does: it enters the groups
// and becomes the program.
func join() {
	for dir := range strings.SplitSeq(os.Getenv("DIRS"), ":") {
		if dir == "" {
			continue
		}
		if err := write(dir+"/cgroup.procs", "0"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(120)
		}
	}
	os.Setenv(roleVar, os.Getenv("THEN"))
	path, err := exec.LookPath(os.Args[1])
	if err == nil {
		err = syscall.Exec(path, os.Args[1:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(121)
}

// eat takes as many MiB as the first argument says.
func eat() {
	n, _ := strconv.Atoi(os.Args[1])
	var all [][]byte
	for range n {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
	fmt.Println("ate", len(all))
}

// inGroup returns a command that will run in the group. An argv that starts
// with "eat" or "spin" is this program in that part.
func inGroup(t *testing.T, g *Group, argv ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	then := ""
	if argv[0] == "eat" || argv[0] == "spin" {
		then = argv[0]
		argv = append([]string{self}, argv[1:]...)
	}
	cmd := exec.Command(self, argv...)
	cmd.Env = append(os.Environ(), roleVar+"=join", "THEN="+then, "DIRS="+strings.Join(g.Dirs, ":"))
	cmd.Stderr = os.Stderr
	return cmd
}
