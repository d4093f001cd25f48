package store

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/internal/state"
)

func collect(t *testing.T, s *Store, used map[string]bool) Collected {
	t.Helper()
	c, err := s.Collector()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Collect(used)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(s.dir.Path("tmp")); len(entries) > 0 {
		for _, e := range entries {
			if _, err := os.Stat(s.dir.Path("tmp", e.Name(), leaseFile)); err != nil {
				t.Errorf("left behind: %s", e.Name())
			}
		}
	}
	return out
}

func TestCollect(t *testing.T) {
	s, dir := testStore(t)
	shared, mine, other, container := addLayer(t, dir, "s", 1), addLayer(t, dir, "m", 10), addLayer(t, dir, "o", 100), addLayer(t, dir, "c", 1000)
	a := mustAdd(t, s, image(t, "a", shared, mine), "a", "a:2")
	b := mustAdd(t, s, image(t, "b", shared, other), "b")
	os.WriteFile(dir.Path("layers", ".claim-x"), nil, 0o600)
	os.WriteFile(dir.Path("oci", "blobs", "sha256", ".half-written.tmp1"), nil, 0o600)

	if out := collect(t, s, map[string]bool{container: true}); len(out.Layers) != 0 || len(out.Blobs) != 0 {
		t.Fatalf("needed things were collected: %+v", out)
	}
	if out := collect(t, s, nil); !slices.Equal(out.Layers, []string{container}) || out.Bytes != 1000 {
		t.Errorf("%+v", out)
	}
	c, err := s.Collector()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Untag("docker.io/library/a:latest", "docker.io/library/a:2"); err != nil {
		t.Fatal(err)
	}
	if img, err := c.Find(a.ID); err != nil || len(img.Names) != 0 {
		t.Errorf("%+v, %v", img.Names, err)
	}
	if err := c.Delete(a.ID); err != nil {
		t.Fatal(err)
	}
	out, err := c.Collect(nil)
	if err != nil || !slices.Equal(out.Layers, []string{mine}) || len(out.Blobs) != 2 {
		t.Errorf("%+v, %v", out, err)
	}
	c.Close()
	if images, err := s.Images(); err != nil || len(images) != 1 || images[0].ID != b.ID {
		t.Errorf("%+v, %v", images, err)
	}
	if _, err := s.Get(a.ID); err == nil {
		t.Error("the configuration is still there")
	}
	if _, err := os.Stat(dir.Path("oci", "blobs", "sha256", ".half-written.tmp1")); err == nil {
		t.Error("half a blob is still there")
	}
	if _, err := os.Stat(dir.Path("layers", ".claim-x")); err != nil {
		t.Error("a claim was collected")
	}
}

func TestLeaseProtects(t *testing.T) {
	s, dir := testStore(t)
	l1, l2 := addLayer(t, dir, "1", 1), addLayer(t, dir, "2", 1)
	lease, err := s.Lease([]string{l1, l2})
	if err != nil {
		t.Fatal(err)
	}
	if out := collect(t, s, nil); len(out.Layers) != 0 {
		t.Errorf("leased layers were collected: %q", out.Layers)
	}
	lease.Close()
	lease.Close()
	if out := collect(t, s, nil); len(out.Layers) != 2 {
		t.Errorf("%+v", out)
	}
}

// The lease of a process that died protects nothing.
func TestDeadLease(t *testing.T) {
	if root := os.Getenv("STORE_TEST_LEASE"); root != "" {
		dir, err := state.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir).Lease([]string{os.Getenv("STORE_TEST_LAYER")}); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("leased\n")
		time.Sleep(time.Minute)
	}
	s, dir := testStore(t)
	l := addLayer(t, dir, "1", 1)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestDeadLease$")
	cmd.Env = append(os.Environ(), "STORE_TEST_LEASE="+dir.Root(), "STORE_TEST_LAYER="+l)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 7)
	if _, err := out.Read(line); err != nil || !bytes.HasPrefix(line, []byte("leased")) {
		t.Fatalf("%q, %v", line, err)
	}
	if out := collect(t, s, nil); len(out.Layers) != 0 {
		t.Error("a living lease does not protect")
	}
	cmd.Process.Kill()
	cmd.Wait()
	if out := collect(t, s, nil); len(out.Layers) != 1 {
		t.Error("a dead lease protects")
	}
}

func TestHoldKeepsCollectorsOut(t *testing.T) {
	s, dir := testStore(t)
	l := addLayer(t, dir, "1", 1)
	hold, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan Collected)
	go func() {
		c, err := s.Collector()
		if err != nil {
			t.Error(err)
		}
		out, _ := c.Collect(nil)
		c.Close()
		done <- out
	}()
	select {
	case <-done:
		t.Fatal("the collector came in")
	case <-time.After(50 * time.Millisecond):
	}
	// Others may hold, too, and list an image meanwhile.
	mustAdd(t, s, image(t, "a", l), "a")
	hold.Unlock()
	if out := <-done; len(out.Layers) != 0 {
		t.Error("the layer of a listed image was collected")
	}
}

// Pulls and collections at once: an image that is listed always has all its
// layers.
func TestCollectAgainstPulls(t *testing.T) {
	s, dir := testStore(t)
	stop := make(chan struct{})
	var collector, pulls sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				c, err := Open(dir).Collector()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := c.Collect(nil); err != nil {
					t.Error(err)
				}
				c.Close()
			}
		}
	})
	for i := range 4 {
		pulls.Go(func() {
			s := Open(dir)
			name := "app" + strings.Repeat("x", i)
			for range 15 {
				ids := []string{Digest([]byte("shared")), Digest([]byte(name))}
				lease, err := s.Lease(ids)
				if err != nil {
					t.Error(err)
					return
				}
				pretendUnpack(t, dir, ids)
				img, err := s.Add(Addition{Names: []string{name}, Manifest: image(t, name, ids...).Manifest, Config: image(t, name, ids...).Config})
				if err != nil {
					t.Error(err)
				}
				lease.Close()
				if m := s.missing(img.Layers); len(m) > 0 {
					t.Errorf("a listed image lacks %q", m)
				}
				c, err := s.Collector()
				if err != nil {
					t.Error(err)
					return
				}
				if err := c.Delete(img.ID); err != nil {
					t.Error(err)
				}
				c.Close()
			}
		})
	}
	pulls.Wait()
	close(stop)
	collector.Wait()
	if images, _ := s.Images(); len(images) != 0 {
		t.Errorf("%d images", len(images))
	}
}

// pretendUnpack puts layers in place the way package layer does.
func pretendUnpack(t *testing.T, dir *state.Dir, ids []string) {
	for _, id := range ids {
		if _, err := ReadLayerMeta(dir, Plain, id); err == nil {
			continue
		}
		tmp, err := dir.Temp()
		if err != nil {
			t.Error(err)
			return
		}
		os.Mkdir(tmp.Path("l"), 0o755)
		if err := state.WriteJSON(tmp.Path("l", "meta.json"), LayerMeta{V: 1, DiffID: id}); err != nil {
			t.Error(err)
		}
		os.Rename(tmp.Path("l"), LayerPath(dir, Plain, id))
		tmp.Close()
	}
}
