package escape

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/test/images"
	"berth/test/lab"
)

// TestEscapes tries one attack after the other.
func TestEscapes(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		agent(t, l)
		for _, a := range attacks() {
			t.Run(a.name, func(t *testing.T) { play(t, l, a.try) })
		}
	})
}

// TestEscapesRanged tries them on an account with id ranges, whose containers have
// more ids than the account's own.
func TestEscapesRanged(t *testing.T) {
	prepare := func(t *testing.T, l *lab.Lab) { agent(t, l) }
	lab.Ranges(t, prepare, func(t *testing.T, l *lab.Lab) {
		for _, a := range attacks() {
			t.Run(a.name, func(t *testing.T) { play(t, l, a.try) })
		}
	})
}

type attack struct {
	name string
	try  func(w *world)
}

func attacks() []attack {
	return []attack{
		{"reach", reach},
		{"own-program", ownProgram},
		{"join", join},
		{"descriptors", descriptors},
		{"working-folder", workingFolder},
		{"image-volumes", volumesOfImage},
		{"image-metadata", nothingOfTheImageOutside},
		{"identity", identity},
		{"accounts-file", accountsFile},
		{"other-containers", otherContainers},
		{"other-accounts", otherAccounts},
		{"freeze", freezeJoining},
		{"left-over", leftOver},
		{"memory-calls", memoryCalls},
		{"oci-folders", ociFolders},
		{"oci-join", ociJoin},
		{"oci-hooks", ociHooks},
	}
}

// reach tries from inside all that a container must never reach.
//
// Fails without: the masked and read-only paths of spec, the seccomp filter, the
// bounding set, nodev on every mount, read-only device nodes (runtime.sources).
func reach(w *world) {
	img := w.image(nil)
	for _, args := range [][]string{
		{}, {"--network", "none"}, {"-u", "1000"}, {"-v", "vol:/vol"}, {"-t"}, {"--init"}, {"--read-only", "--tmpfs", "/tmp"},
	} {
		r := w.run(append(append([]string{"run", "--rm"}, args...), img, "agent", "reach")...)
		out := r.Out
		if strings.Contains(strings.Join(args, " "), "--init") {
			// The first process is berth's own init there.
			out = strings.ReplaceAll(out, "REACHED another process space: we are 2\n", "")
			out = dropLine(out, "REACHED process 1, which is")
		}
		if !strings.Contains(out, "tried ") || r.Code != 0 {
			w.Errorf("%v: the attacker did not finish: code %d, %s%s", args, r.Code, r.Out, r.Err)
		}
		if strings.Contains(out, "REACHED") {
			w.Errorf("with %v:\n%s", args, out)
		}
	}
}

func dropLine(s, prefix string) string {
	var out []string
	for _, l := range strings.Split(s, "\n") {
		if !strings.HasPrefix(l, prefix) {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

// ownProgram: CVE-2019-5736 and its kind. An image has the kernel run our own
// program inside the container, and another process there tries to write to it,
// now or later.
//
// Fails without engine.shimProgram's sealed program.
func ownProgram(w *world) {
	img := w.image(nil, images.Entry{Name: "entry", Body: "#!/proc/self/exe\n", Mode: 0o755}, images.Entry{Name: "link", Type: '2', Link: "/proc/self/exe"})
	before := w.programs()
	w.start("watcher", "watching", img, "agent", "watch", "program", "4")
	for range 40 {
		w.run("exec", "watcher", "/entry")
		w.run("exec", "watcher", "/link")
	}
	w.p.Run("wait", "watcher")
	out := w.p.Run("logs", "watcher").Out
	w.none(out, "LOOT")
	if !strings.Contains(out, "refused: write: read-only file system") {
		w.Errorf("the program was not met, or is kept by something else than a read-only file system:\n%s", out)
	}
	for path, sum := range w.programs() {
		if before[path] != "" && before[path] != sum {
			w.Errorf("%s has changed", path)
		}
	}
	for _, entry := range []string{"/entry", "/link"} {
		if r := w.run("run", "--rm", "--entrypoint", entry, img); r.Code == 0 {
			w.Errorf("%s ran: %s", entry, r.Out)
		}
	}
}

// programs digests berth and the programs it has unpacked.
func (w *world) programs() map[string]string {
	sums := map[string]string{}
	bins, _ := filepath.Glob(filepath.Join(w.p.Root, "bin", "*"))
	for _, p := range append(bins, w.p.Lab.Berth()) {
		b, err := os.ReadFile(p)
		if err != nil {
			w.Error(err)
		}
		sums[p] = fmt.Sprintf("%x", sha256.Sum256(b))
	}
	return sums
}

// join: CVE-2016-9962 and its kind. A process that joins a running container
// is looked at from inside before it has become the container's own.
//
// Fails without PR_SET_DUMPABLE in shim.Main.
func join(w *world) {
	img := w.image(nil)
	w.start("watcher", "watching", img, "agent", "watch", "process", "5")
	for range 60 {
		w.run("exec", "watcher", "/bin/true")
	}
	w.p.Run("wait", "watcher")
	out := w.p.Run("logs", "watcher").Out
	w.none(out, "LOOT")
	if !strings.Contains(out, "watched ") || strings.Contains(out, "watched 0\n") {
		w.Errorf("nobody was met on his way in: this tests nothing\n%s", out)
	}
}

// descriptors: CVE-2024-21626. Nothing of the host is open in a container,
// neither for its first process nor for one that joins, and none of what the
// caller has inherited.
//
// Fails without close-all in runtime.process and close_range in
// engine.launchShim: either is enough, as all that we open is closed on exec.
func descriptors(w *world) {
	img := w.image(nil)
	w.start("box", "", img, "sleep", "1000")
	leak, err := os.Open(w.canary)
	if err != nil {
		w.Fatal(err)
	}
	defer leak.Close()
	for _, args := range [][]string{{"run", "--rm", img}, {"run", "--rm", "-t", img}, {"exec", "box"}, {"exec", "-u", "1000", "box"}, {"run", "--rm", "--init", img}} {
		cmd := w.p.Command("berth", append(args, "agent", "fds")...)
		cmd.ExtraFiles = []*os.File{leak, leak, leak}
		b, err := cmd.CombinedOutput()
		out := strings.ReplaceAll(string(b), "\r\n", "\n")
		if err != nil {
			w.Errorf("%v: %v: %s", args, err, out)
		}
		for _, line := range strings.Split(out, "\n") {
			f := strings.Fields(line)
			if len(f) > 1 && f[0] == "fd" && f[1] != "0" && f[1] != "1" && f[1] != "2" {
				w.Errorf("%v: %s", args, line)
			}
			if len(f) > 2 && (f[0] == "CapInh:" || f[0] == "CapAmb:") && f[1] != "0000000000000000" {
				w.Errorf("%v: %s", args, line)
			}
		}
		if !strings.Contains(out, "\ncwd / <nil>") {
			w.Errorf("%v: not in the root of the container: %s", args, out)
		}
	}
}

// workingFolder: an image, or a running container, has a working folder that
// leads out through what is still open, or through /proc.
//
// Fails without RESOLVE_NO_MAGICLINKS in runtime, where working folders are made
// and entered.
func workingFolder(w *world) {
	img := w.image(nil)
	look := []string{"sh", "-c", "pwd; cat secret ../secret " + strings.Repeat("../", 14) + w.canary[1:] + "/secret; echo > planted; true"}
	for n := 3; n < 28; n++ {
		dir := w.throughHost(fmt.Sprintf("/proc/self/fd/%d", n)) + "/planted"
		w.run(append([]string{"run", "--rm", "-w", dir, img}, look...)...)
	}
	w.untouched()
	bad := w.image([]string{"WORKDIR " + w.throughHost("/proc")})
	w.run(append([]string{"run", "--rm", "--pid", "host", bad}, look...)...)
	w.run(append([]string{"run", "--rm", "--pid", "host", "-w", w.throughHost("/proc") + "/planted", img}, look...)...)
	w.start("box", "", "--pid", "host", "-w", "/tmp/work", img, "sleep", "1000")
	w.run(append([]string{"exec", "-w", w.throughHost("/proc"), "box"}, look...)...)
	w.run("exec", "box", "sh", "-c", "cd /; rm -rf /tmp/work; ln -s "+w.throughHost("/proc")+" /tmp/work")
	w.run(append([]string{"exec", "box"}, look...)...)
}

// volumesOfImage: an image has its own volumes mounted at places that lead
// out: below its own /dev, whose content it chooses, when /proc is there
// already.
//
// Fails without RESOLVE_NO_MAGICLINKS in runtime.mkdirs.
func volumesOfImage(w *world) {
	for n := 3; n < 28; n++ {
		out := w.throughHost(fmt.Sprintf("/proc/self/fd/%d", n))
		img := w.image([]string{fmt.Sprintf("VOLUME [%q, %q]", "/dev", "/dev/a/planted")},
			images.Entry{Name: "dev/"}, images.Entry{Name: "dev/a", Type: '2', Link: out})
		w.run("run", "--rm", img, "true")
		w.run("rmi", "-f", img)
	}
	// Links where berth itself mounts and writes.
	for _, name := range []string{"dev", "proc", "sys", "etc", "dev/shm", "dev/pts", "dev/null", "dev/console", "etc/hosts", "proc/sys", "proc/kcore"} {
		entries := []images.Entry{{Name: name, Type: '2', Link: w.canary + "/" + filepath.Base(name)}}
		if dir := filepath.Dir(name); dir != "." && dir != "etc" {
			entries = append([]images.Entry{{Name: dir + "/"}}, entries...)
		}
		if name == "etc" {
			continue // is a folder in all our images; hostile/etc-link of test/script has it
		}
		img := w.image([]string{"VOLUME /vol/a"}, entries...)
		r := w.run("run", "--rm", "-t", img, "agent", "reach")
		if strings.Contains(r.Out, "REACHED") {
			w.Errorf("with /%s a link:\n%s", name, r.Out)
		}
	}
}

// nothingOfTheImageOutside: CVE-2025-23266, CVE-2026-53488 and their kind.
// Environment and labels of an image reach no process of the host.
//
// Fails without the empty environment in engine.launchShim.
func nothingOfTheImageOutside(w *world) {
	img := w.image([]string{
		"ENV LD_PRELOAD=/evil.so", "ENV GODEBUG=http2debug=2", "ENV BERTH_ROOT=/evil", "ENV GOMAXPROCS=77", "ENV PATH=/bin:/evil",
		"LABEL io.containerd.runc.v2.log=binary:///bin/touch?x", "LABEL io.kubernetes.cri-o.LogPath=/evil", "LABEL run.oci.hooks=/evil",
	})
	w.start("box", "", img, "sleep", "1000")
	w.run("exec", "box", "true")
	found := 0
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		cmd, _ := os.ReadFile(p + "/cmdline")
		if !strings.HasPrefix(string(cmd), "berth-shim") {
			continue
		}
		env, err := os.ReadFile(p + "/environ")
		if err != nil && !lab.Root() {
			found++ // cannot be looked into even by its own account
			continue
		}
		if cwd, _ := os.Readlink(p + "/cwd"); err != nil || !strings.HasPrefix(cwd, w.p.Root) {
			continue
		}
		found++
		if string(env) != "GOMAXPROCS=1\x00" {
			w.Errorf("the shim has the environment %q", env)
		}
	}
	if found == 0 {
		w.Error("found no shim")
	}
}
