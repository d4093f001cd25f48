package lsm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// machine makes the files of a machine below a folder.
func machine(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// parser stands for apparmor_parser: it notes how it was called and what it
// read, and puts the profile into the kernel's list.
const parser = `#!/bin/sh
cd "${0%/*}"
echo "$@" >> called
env >> called
/bin/cat > text
[ -e broken ] && { echo "syntax   error" >&2; exit 1; }
echo "berth-default (enforce)" >> sys/kernel/security/apparmor/profiles
`

func appArmor(t *testing.T, files map[string]string) AppArmor {
	all := map[string]string{
		"sys/module/apparmor/parameters/enabled": "Y\n",
		"sys/kernel/security/apparmor/profiles":  "berth-default-of-mine (enforce)\nfirefox (complain)\n",
		"parser":                                 parser,
	}
	for k, v := range files {
		all[k] = v
	}
	root := machine(t, all)
	return AppArmor{root: root, parser: []string{root + "/not-there", root + "/parser"}}
}

func read(t *testing.T, a AppArmor, name string) string {
	b, _ := os.ReadFile(filepath.Join(a.root, name))
	return string(b)
}

func TestLoadDefaultOnce(t *testing.T) {
	t.Setenv("SECRET", "of the caller")
	a := appArmor(t, map[string]string{"proc/self/attr/current": "berth-ci (unconfined)\n"})
	for range 2 {
		if err := a.LoadDefault(); err != nil {
			t.Fatal(err)
		}
	}
	called := read(t, a, "called")
	if strings.Count(called, "--add --skip-cache") != 1 {
		t.Errorf("the parser was called with %q", called)
	}
	if strings.Contains(called, "SECRET") {
		t.Error("the parser got our environment")
	}
	text := read(t, a, "text")
	for _, want := range []string{"profile berth-default ", "deny mount,", `signal (receive) peer="berth-ci",`} {
		if !strings.Contains(text, want) {
			t.Errorf("the profile lacks %q:\n%s", want, text)
		}
	}
}

func TestLoadDefaultFails(t *testing.T) {
	for want, a := range map[string]AppArmor{
		"cannot load profile berth-default: exit status 1: syntax error": appArmor(t, map[string]string{"broken": ""}),
		"install the package apparmor":                                   {root: appArmor(t, nil).root, parser: []string{"/not/there"}},
		"cannot read which AppArmor profiles are loaded":                 {root: t.TempDir()},
	} {
		if err := a.LoadDefault(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestEnabled(t *testing.T) {
	for name, a := range map[string]AppArmor{
		"off":              appArmor(t, map[string]string{"sys/module/apparmor/parameters/enabled": "N\n"}),
		"not in kernel":    {root: t.TempDir()},
		"hidden from view": {root: machine(t, map[string]string{"sys/module/apparmor/parameters/enabled": "Y\n"})},
	} {
		if a.Enabled() {
			t.Errorf("%s: enabled", name)
		}
	}
	if !appArmor(t, nil).Enabled() {
		t.Error("not enabled")
	}
}

// TestDefaultTextQuotes: what a caller's profile is called is no text for ours.
func TestDefaultTextQuotes(t *testing.T) {
	for current, want := range map[string]string{
		"unconfined\n":                        "",
		"/usr/bin/a b (enforce)\n":            "/usr/bin/a b",
		"x\", deny capability, # (enforce)\n": "",
		"a//&:ns:b (enforce)\n":               "a//&:ns:b",
		"":                                    "",
		"kernel.that.has.selinux:s0:c1 (enforce)": "kernel.that.has.selinux:s0:c1",
	} {
		a := appArmor(t, map[string]string{"proc/self/attr/apparmor/current": current})
		if got := a.self(); got != want {
			t.Errorf("%q: %q, want %q", current, got, want)
		}
	}
}

func TestContexts(t *testing.T) {
	on := func(string) int64 { return unix.SELINUX_MAGIC }
	off := func(string) int64 { return unix.SYSFS_MAGIC }
	const lxc = "process = \"system_u:system_r:box_t:s0\"\nfile = \"system_u:object_r:box_file_t:s0\"\nro_file=\"x:y:z:s0\"\n"
	for _, c := range []struct {
		name          string
		s             SELinux
		process, file string
	}{
		{"off", SELinux{t.TempDir(), off}, "", ""},
		{"no files", SELinux{t.TempDir(), on}, "system_u:system_r:container_t:s0", "system_u:object_r:container_file_t:s0"},
		{"usual", SELinux{machine(t, map[string]string{"etc/selinux/targeted/contexts/lxc_contexts": lxc}), on}, "system_u:system_r:box_t:s0", "system_u:object_r:box_file_t:s0"},
		{"other policy", SELinux{machine(t, map[string]string{
			"etc/selinux/config": "# SELINUXTYPE= one of\nSELINUX=enforcing\nSELINUXTYPE=mls\n", "etc/selinux/mls/contexts/lxc_contexts": lxc,
		}), on}, "system_u:system_r:box_t:s0", "system_u:object_r:box_file_t:s0"},
		{"policy that leads out", SELinux{machine(t, map[string]string{
			"etc/selinux/config": "SELINUXTYPE=../../other\n", "other/contexts/lxc_contexts": lxc,
		}), on}, "system_u:system_r:container_t:s0", "system_u:object_r:container_file_t:s0"},
	} {
		if process, file := c.s.Contexts(); process != c.process || file != c.file {
			t.Errorf("%s: %q, %q", c.name, process, file)
		}
	}
}

// TestRelabel needs root, who may set a security attribute without SELinux.
func TestRelabel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test labels files: run it as root")
	}
	root := machine(t, map[string]string{"tree/a": "", "tree/d/e/f": "", "tree/d/g": "", "outside/x": ""})
	for link, to := range map[string]string{"tree/d/out": root + "/outside", "tree/z": root + "/outside/x"} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	label := func(name string) string {
		buf := make([]byte, 100)
		n, err := unix.Lgetxattr(filepath.Join(root, name), attribute, buf)
		if err != nil {
			return ""
		}
		return string(buf[:n])
	}
	const want = "system_u:object_r:container_file_t:s0:c1,c2"
	if err := Relabel(root+"/tree/", want); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tree", "tree/a", "tree/d", "tree/d/e", "tree/d/e/f", "tree/d/g", "tree/d/out", "tree/z"} {
		if label(name) != want {
			t.Errorf("%s is labelled %q", name, label(name))
		}
	}
	for _, name := range []string{"outside", "outside/x", "."} {
		if label(name) != "" {
			t.Errorf("%s is labelled %q: a link was followed", name, label(name))
		}
	}
	if !Has(root+"/tree", want) || Has(root+"/tree", want+"0") || Has(root+"/outside", want) {
		t.Error("Has does not tell")
	}
	if err := Relabel(root+"/outside/x", want); err != nil || label("outside/x") != want {
		t.Errorf("a file: %v", err)
	}
	for _, path := range []string{"/", "/etc", "/usr/", "/proc/self", "/home/../etc"} {
		if Relabel(path, want) == nil {
			t.Errorf("%s was labelled", path)
		}
	}
	if err := Relabel(root+"/nothing", want); !os.IsNotExist(err) {
		t.Error(err)
	}
}
