package stress

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/test/lab"
)

func TestTwoHundredCommandsAtOnce(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		p := l.Place(t, t.TempDir())
		p.Must(t, "pull", "-q", "busybox")
		p.Must(t, "run", "-d", "--name", "shared", "busybox", "sleep", "1000")
		tally := storm(t, p, crowd(l))
		// A rename frees the name for one more.
		if n := tally["same-name"]; n < 1 || n > 1+tally["rename"] {
			t.Errorf("%d containers got one name, which was freed %d times", n, tally["rename"])
		}
		for _, kind := range []string{"run", "run-d", "ps", "exec", "pull", "images", "volume", "use-volume"} {
			if tally[kind] != tally["all "+kind] {
				t.Errorf("%s: %d of %d succeeded", kind, tally[kind], tally["all "+kind])
			}
		}
		if n := len(strings.Fields(p.Must(t, "ps", "-q", "--filter", "name=bg"))); n != tally["run-d"] {
			t.Errorf("ps shows %d of %d running", n, tally["run-d"])
		}
		p.Must(t, "volume", "ls")
		// Everything ends at once, too.
		var end []job
		for i := range 30 {
			end = append(end, job{"rm", []string{"rm", "-f", fmt.Sprintf("bg%d", i)}}, job{"ps", []string{"ps", "-a"}})
		}
		for range 5 {
			end = append(end, job{"rm-same", []string{"rm", "-f", "shared"}}, job{"restart-same", []string{"restart", "-t", "0", "shared"}})
		}
		storm(t, p, end)
		if left := p.Clean(); len(left) > 0 {
			t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
		}
		p.Must(t, "volume", "prune", "-af")
		p.Must(t, "image", "prune", "-af")
	})
}

type job struct {
	kind string
	args []string
}

// crowd is two hundred commands. Some kinds must succeed, others race for one
// thing and may lose in words.
func crowd(l *lab.Lab) []job {
	var jobs []job
	add := func(n int, kind string, args func(i int) []string) {
		for i := range n {
			jobs = append(jobs, job{kind, args(i)})
		}
	}
	add(40, "run", func(i int) []string { return []string{"run", "--rm", "--network", "none", "busybox", "true"} })
	add(30, "run-d", func(i int) []string {
		return []string{"run", "-d", "--name", fmt.Sprintf("bg%d", i), "busybox", "sleep", "1000"}
	})
	add(20, "same-name", func(i int) []string { return []string{"create", "--name", "same", "busybox", "true"} })
	add(30, "ps", func(i int) []string { return []string{"ps", "-a"} })
	add(20, "exec", func(i int) []string { return []string{"exec", "shared", "true"} })
	add(15, "pull", func(i int) []string { return []string{"pull", "-q", l.Open + "/test/kit"} })
	add(10, "images", func(i int) []string { return []string{"images"} })
	add(10, "volume", func(i int) []string { return []string{"volume", "create", "vv"} })
	add(10, "use-volume", func(i int) []string { return []string{"run", "--rm", "-v", "ww:/etc", "busybox", "cat", "/etc/passwd"} })
	add(5, "inspect", func(i int) []string { return []string{"inspect", "same"} })
	add(5, "prune", func(i int) []string { return []string{"volume", "prune", "-f"} })
	add(5, "rename", func(i int) []string { return []string{"rename", "same", fmt.Sprintf("renamed%d", i)} })
	return jobs
}

// storm runs all jobs at the same moment and counts by kind how many there
// were ("all KIND") and how many succeeded.
func storm(t *testing.T, p *lab.Place, jobs []job) map[string]int {
	t.Helper()
	tally := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	gun := make(chan struct{})
	for _, j := range jobs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			<-gun
			out, code := patient(p, j.args)
			mu.Lock()
			defer mu.Unlock()
			tally["all "+j.kind]++
			if code == 0 {
				tally[j.kind]++
			}
			for _, bad := range []string{"panic", "goroutine ", "damaged", "unexpected end of JSON"} {
				if strings.Contains(out, bad) {
					t.Errorf("%v: %s", j.args, out)
				}
			}
			if code != 0 && strings.TrimSpace(out) == "" {
				t.Errorf("%v fails with code %d and without a word", j.args, code)
			}
			if code == -1 {
				t.Errorf("%v hangs: %s", j.args, out)
			}
			if code != 0 {
				t.Logf("uid %d: %v: code %d: %s", os.Getuid(), j.args, code, strings.TrimSpace(out))
			}
		}()
	}
	start := time.Now()
	close(gun)
	wg.Wait()
	t.Logf("%d commands at once took %v", len(jobs), time.Since(start).Round(time.Millisecond))
	return tally
}

// patient runs berth with much time: two hundred share the machine.
func patient(p *lab.Place, args []string) (string, int) {
	cmd := p.Command("berth", args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Minute // the copying of output waits its turn as well
	if err := cmd.Start(); err != nil {
		return err.Error(), -1
	}
	timer := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	cmd.Wait()
	if code := lab.ExitCode(cmd.ProcessState); code != 128+9 {
		return out.String(), code
	}
	return out.String(), -1
}
