package download

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// web is a Source that speaks HTTP, as the real one does.
type web struct {
	client *http.Client
	url    string
}

func (w *web) Range(ctx context.Context, off, n int64) (io.ReadCloser, bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url, nil)
	if err != nil {
		return nil, false, err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, false, err
	}
	switch resp.StatusCode {
	case http.StatusPartialContent:
		return resp.Body, false, nil
	case http.StatusOK:
		return resp.Body, true, nil
	}
	resp.Body.Close()
	return nil, false, fmt.Errorf("status %s", resp.Status)
}

func (w *web) Transient(err error) (time.Duration, bool) {
	return 0, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
}

// helper downloads "DIR URL DIGEST SIZE TMPFS-SIZE" in a process of its own.
// With the last it first mounts a small disk over the folder.
func helper(args []string) int {
	if args[0] == "serve" {
		return serveNoise()
	}
	size, _ := strconv.ParseInt(args[3], 10, 64)
	if len(args) == 5 {
		if err := unix.Mount("none", args[0], "tmpfs", 0, "size="+args[4]); err != nil {
			fmt.Println("mount:", err)
			return 1
		}
	}
	src := &web{client: &http.Client{Transport: &http.Transport{}}, url: args[1]}
	d, err := Open(context.Background(), src, Options{Dir: args[0], Digest: args[2], Size: size})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if err = d.Verify(); err != nil {
		fmt.Println(err)
	}
	if errors.Is(err, unix.ENOSPC) {
		fmt.Println("disk is full")
	}
	if err == nil {
		fmt.Println("complete")
	}
	if e := d.Close(); e != nil || err != nil {
		return 1
	}
	return 0
}

func startHelper(t testing.TB, smallDisk bool, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+strings.Join(args, " "))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if smallDisk {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return cmd
}

// serve offers data over HTTP and calls seen with each range that is asked for.
func serve(t *testing.T, data []byte, pause time.Duration, seen func(off, end int64)) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var off, end int64
		if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &off, &end); n != 2 {
			http.Error(w, "no range", http.StatusBadRequest)
			return
		}
		seen(off, end+1)
		http.ServeContent(slowly{w, pause}, r, "", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

type slowly struct {
	http.ResponseWriter
	pause time.Duration
}

func (s slowly) Write(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.ResponseWriter.Write(p)
}

// A download that is killed at any moment goes on where it was: not one chunk
// that the journal has is asked for again.
func TestKilled(t *testing.T) {
	const size = 48<<20 + 12345
	data := noise(size, 5)
	var mu sync.Mutex
	here := map[int64]bool{}
	twice := 0
	url := serve(t, data, time.Millisecond, func(off, end int64) {
		mu.Lock()
		defer mu.Unlock()
		for i := off / chunkSize; i <= (end-1)/chunkSize; i++ {
			if here[i] {
				twice++
			}
		}
	})
	for range 3 {
		dir := t.TempDir()
		job := []string{dir, url, digestOf(data), fmt.Sprint(size)}
		kills := 0
		for have := int64(-1); ; kills++ {
			cmd := startHelper(t, false, job...)
			var out strings.Builder
			cmd.Stdout = &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// By and by it gets enough time to end.
			limit := time.Duration(rand.IntN(60<<min(kills/3, 8))) * time.Millisecond
			timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
			err := cmd.Wait()
			timer.Stop()
			if err == nil {
				break
			}
			if cmd.ProcessState.Exited() {
				t.Fatalf("it failed by itself: %v", err)
			}
			now := int64(0)
			if all, err := List(dir); err != nil {
				t.Fatal(err)
			} else if len(all) == 1 {
				now = all[0].Have
			}
			// A complete one may have been on its way out.
			if now < have && out.String() != "complete\n" {
				t.Errorf("there were %d bytes, now there are %d", have, now)
			}
			have = now
			mu.Lock()
			here = chunksOf(t, dir)
			mu.Unlock()
		}
		mu.Lock()
		if twice > 0 || kills == 0 {
			t.Errorf("%d chunks were asked for again, %d kills", twice, kills)
		}
		here = nil
		mu.Unlock()
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			t.Errorf("left: %v", entries)
		}
	}
}

// chunksOf returns which chunks the journal in dir has.
func chunksOf(t *testing.T, dir string) map[int64]bool {
	m := map[int64]bool{}
	names, _ := filepath.Glob(filepath.Join(dir, "*.map"))
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if h, ok := parseHeader(b); ok {
			parseRecords(h, b[headerSize:], func(r record) { m[int64(r.index)] = true })
		}
	}
	return m
}

func TestDiskFull(t *testing.T) {
	const size = 16 << 20
	data := noise(size, 6)
	url := serve(t, data, 0, func(int64, int64) {})
	dir := t.TempDir()
	out, err := startHelper(t, true, dir, url, digestOf(data), fmt.Sprint(size), "6m").CombinedOutput()
	if text := string(out); err == nil || !strings.Contains(text, "cannot keep download") || !strings.Contains(text, "disk is full") || strings.Count(text, "\n") != 2 {
		t.Errorf("%v: %q", err, text)
	}
	if out, err := startHelper(t, true, dir, url, digestOf(data), fmt.Sprint(size), "20m").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// Over HTTP, with all that is not for tests as it is.
func TestOverHTTP(t *testing.T) {
	data := noise(24<<20+1, 8)
	url := serve(t, data, 0, func(int64, int64) {})
	dir := t.TempDir()
	src := &web{client: &http.Client{Transport: &http.Transport{}}, url: url}
	d, err := Open(context.Background(), src, Options{Dir: dir, Digest: digestOf(data), Size: int64(len(data)), Limit: NewLimit(16, 8)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(d)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("left: %v", entries)
	}
}
