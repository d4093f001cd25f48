package escape

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"berth/test/lab"
)

// bundle makes an OCI bundle with a root file system like that of the images,
// and a configuration as `berth oci spec` writes it, changed by edit.
func (w *world) bundle(name string, args []string, edit func(c map[string]any, rootfs string)) string {
	w.Helper()
	dir := filepath.Join(w.dir, "bundles", name)
	rootfs := filepath.Join(dir, "rootfs")
	for _, d := range []string{"bin", "etc", "tmp", "proc", "sys", "dev", "vol"} {
		if err := os.MkdirAll(filepath.Join(rootfs, d), 0o755); err != nil {
			w.Fatal(err)
		}
	}
	for from, to := range map[string]string{"/usr/bin/busybox": "bin/busybox", filepath.Join(w.p.Lab.Dir, "agent"): "bin/agent"} {
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(rootfs, to), b, 0o755)
		}
		if err != nil {
			w.Fatal(err)
		}
	}
	for _, l := range []string{"sh", "cat", "sleep", "true", "ls"} {
		os.Symlink("busybox", filepath.Join(rootfs, "bin", l))
	}
	file := filepath.Join(dir, "config.json")
	os.Remove(file) // of the bundle before
	spec := []string{"oci", "spec", "-b", dir}
	if !lab.Root() {
		spec = append(spec, "--rootless")
	}
	w.p.Must(w, spec...)
	b, err := os.ReadFile(file)
	if err != nil {
		w.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		w.Fatal(err)
	}
	process := c["process"].(map[string]any)
	process["terminal"], process["args"], process["env"] = false, args, []string{"PATH=/bin"}
	c["root"].(map[string]any)["readonly"] = false
	if edit != nil {
		edit(c, rootfs)
	}
	if b, err = json.Marshal(c); err == nil {
		err = os.WriteFile(file, b, 0o644)
	}
	if err != nil {
		w.Fatal(err)
	}
	return dir
}

// oci runs berth as an OCI runtime.
func (w *world) oci(args ...string) lab.Result {
	w.Helper()
	return w.run(append([]string{"oci", "--root", filepath.Join(w.dir, "oci")}, args...)...)
}

const ociLook = "pwd; cat secret ../secret; echo > planted; true"

// ociFolders: CVE-2024-21626 and CVE-2025-31133 by the bundle: working folders
// that lead out, also through a descriptor that the caller hands over, and links
// in the places of our mounts.
//
// Fails without RESOLVE_NO_MAGICLINKS in runtime, where places are found.
func ociFolders(w *world) {
	cwd := func(dir string) func(map[string]any, string) {
		return func(c map[string]any, _ string) { c["process"].(map[string]any)["cwd"] = dir }
	}
	look := []string{"sh", "-c", ociLook}
	for n := 3; n < 24; n++ {
		dir := w.bundle("cwd", look, cwd(w.throughHost(fmt.Sprintf("/proc/self/fd/%d", n))+"/planted"))
		w.oci("run", "-b", dir, fmt.Sprintf("cwd%d", n))
	}
	// A folder of the host that the caller hands over on purpose is the
	// program's to use, but no place to start in.
	leak, err := os.Open(w.canary)
	if err != nil {
		w.Fatal(err)
	}
	defer leak.Close()
	dir := w.bundle("kept", look, cwd("/proc/self/fd/3"))
	cmd := w.p.Command("berth", "oci", "--root", filepath.Join(w.dir, "oci"), "run", "--preserve-fds", "1", "-b", dir, "kept")
	cmd.ExtraFiles = []*os.File{leak}
	if out, err := cmd.CombinedOutput(); err == nil {
		w.Errorf("started in a folder of the host: %s", out)
	}
	for _, place := range []string{"proc", "sys", "dev", "dev/null", "dev/pts", "dev/console", "sys/fs"} {
		dir := w.bundle("link-"+filepath.Base(place), []string{"agent", "reach"}, func(c map[string]any, rootfs string) {
			at := filepath.Join(rootfs, place)
			os.RemoveAll(at)
			if err := os.Symlink(w.canary, at); err != nil {
				w.Fatal(err)
			}
			if strings.HasPrefix(place, "dev/") { // without a /dev of ours above it
				var mounts []any
				for _, m := range c["mounts"].([]any) {
					if d := m.(map[string]any)["destination"].(string); d != "/dev" && !strings.HasPrefix(d, "/dev/") {
						mounts = append(mounts, m)
					}
				}
				c["mounts"] = mounts
			}
		})
		r := w.oci("run", "-b", dir, "link")
		for _, bad := range []string{"/proc/keys", "/proc/kcore", "/proc/timer_list", "/proc/sysrq-trigger", "/sys/firmware", "/proc/sys/"} {
			w.none(r.Out, "REACHED "+bad)
		}
		w.oci("delete", "--force", "link")
	}
}

// ociJoin: CVE-2016-9962 and CVE-2019-5736 against `berth oci exec`, whose caller
// is the program itself.
//
// Fails without PR_SET_DUMPABLE in oci.
func ociJoin(w *world) {
	for _, what := range []string{"process", "program"} {
		dir := w.bundle("join", []string{"agent", "watch", what, "4"}, func(c map[string]any, rootfs string) {
			if err := os.WriteFile(filepath.Join(rootfs, "entry"), []byte("#!/proc/self/exe\n"), 0o755); err != nil {
				w.Fatal(err)
			}
		})
		out, err := os.Create(filepath.Join(w.dir, "out"))
		if err != nil {
			w.Fatal(err)
		}
		cmd := w.p.Command("berth", "oci", "--root", filepath.Join(w.dir, "oci"), "run", "-b", dir, "join")
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			w.Fatal(err)
		}
		for start := time.Now(); time.Since(start) < lab.Patience; time.Sleep(20 * time.Millisecond) {
			if w.oci("state", "join").Code == 0 {
				break
			}
		}
		before := w.programs()
		// What an image runs by #!/proc/self/exe is the container's own process
		// by then, whose program alone is to be guarded.
		entry := map[string]string{"process": "/bin/true", "program": "/entry"}[what]
		for range 40 {
			w.oci("exec", "join", entry)
			w.oci("exec", "join", "/bin/true")
		}
		cmd.Wait()
		out.Close()
		b, _ := os.ReadFile(out.Name())
		w.none(string(b), "LOOT")
		if !strings.Contains(string(b), "watched ") || strings.Contains(string(b), "watched 0\n") {
			w.Errorf("nobody was met on his way in: this tests nothing\n%s", b)
		}
		for path, sum := range w.programs() {
			if before[path] != "" && before[path] != sum {
				w.Errorf("%s has changed", path)
			}
		}
		w.oci("delete", "--force", "join")
	}
}

// ociHooks: CVE-2025-23266. A hook is a program of the host, and what the
// container's environment says to a dynamic linker is not said to it; nor has it
// a descriptor of ours.
//
// Fails without the environment of the hook alone in oci, and closed descriptors.
func ociHooks(w *world) {
	told := filepath.Join(w.dir, "told")
	script := filepath.Join(w.dir, "hook")
	if err := os.WriteFile(script, []byte("#!/bin/sh\ncat > /dev/null\n{ echo \"[$1]\"; /usr/bin/env; ls -l /proc/self/fd; } >> "+told+"\n"), 0o755); err != nil {
		w.Fatal(err)
	}
	for _, stage := range []string{"prestart", "createRuntime", "createContainer", "poststart", "poststop"} {
		dir := w.bundle("hook-"+stage, []string{"true"}, func(c map[string]any, rootfs string) {
			c["process"].(map[string]any)["env"] = []string{"PATH=/bin", "LD_PRELOAD=/evil.so", "EVIL=yes"}
			c["hooks"] = map[string]any{stage: []any{map[string]any{"path": script, "args": []string{"hook", stage}, "env": []string{"MINE=1"}}}}
		})
		w.oci("run", "-b", dir, "hook")
		w.oci("delete", "--force", "hook")
		b, err := os.ReadFile(told)
		if err != nil || !strings.Contains(string(b), "["+stage+"]") || !strings.Contains(string(b), "MINE=1") {
			w.Errorf("the hook of %s did not run: %s", stage, b)
		}
	}
	b, _ := os.ReadFile(told)
	w.none(string(b), "(EVIL|LD_PRELOAD|"+w.p.Root+"|/proc$|ns:)")
}
