package lsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// DefaultProfile is the name of the AppArmor profile that containers of root's
// have without a word.
const DefaultProfile = "berth-default"

// parserTime is how long apparmor_parser may take. It needs some 50 ms.
const parserTime = 20 * time.Second

// AppArmor is the module on one machine.
type AppArmor struct {
	root   string   // "/"
	parser []string // where apparmor_parser may be
}

// NewAppArmor looks at nothing yet.
func NewAppArmor() AppArmor {
	// Not $PATH: what runs as root is not for an environment to choose.
	return AppArmor{root: "/", parser: []string{"/usr/sbin/apparmor_parser", "/sbin/apparmor_parser", "/usr/bin/apparmor_parser"}}
}

// Enabled reports whether the kernel enforces profiles, and this process can
// see them. Inside another container it can not.
func (a AppArmor) Enabled() bool {
	b, err := os.ReadFile(filepath.Join(a.root, "sys/module/apparmor/parameters/enabled"))
	if err != nil || len(b) == 0 || b[0] != 'Y' {
		return false
	}
	_, err = os.Stat(filepath.Join(a.root, "sys/kernel/security/apparmor"))
	return err == nil
}

// LoadDefault sees to it that the kernel has [DefaultProfile]. One that is
// loaded is left as it is: containers run under it, and an administrator may
// have put an own one there. Only root can do this.
func (a AppArmor) LoadDefault() error {
	if ok, err := a.loaded(DefaultProfile); err != nil || ok {
		return err
	}
	err := a.load(DefaultText(a.self()))
	if err != nil {
		// Somebody else may have been faster.
		if ok, e := a.loaded(DefaultProfile); e == nil && ok {
			return nil
		}
	}
	return err
}

// loaded looks a profile up in the kernel's list, "name (enforce)" a line.
func (a AppArmor) loaded(name string) (bool, error) {
	b, err := os.ReadFile(filepath.Join(a.root, "sys/kernel/security/apparmor/profiles"))
	if err != nil {
		return false, fmt.Errorf("cannot read which AppArmor profiles are loaded: %w", err)
	}
	for line := range bytes.Lines(b) {
		if bytes.HasPrefix(line, []byte(name+" (")) {
			return true, nil
		}
	}
	return false, nil
}

// self is the profile that this process runs under, or nothing.
func (a AppArmor) self() string {
	for _, file := range []string{"proc/self/attr/apparmor/current", "proc/self/attr/current"} {
		b, err := os.ReadFile(filepath.Join(a.root, file))
		if err != nil {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimSpace(string(b)), " (")
		if name == "unconfined" || strings.ContainsAny(name, "\"\n,{}") {
			return ""
		}
		return name
	}
	return ""
}

// load has apparmor_parser compile a text and give it to the kernel. (The
// kernel takes a binary form only, which differs with its version; the parser
// belongs to the distribution for that reason.)
func (a AppArmor) load(text string) error {
	return a.parse(DefaultProfile, text, "--add", "--skip-cache")
}

// LoadFile gives the kernel the profiles of a file, in place of those it has.
// Only root can do this.
func (a AppArmor) LoadFile(path string) error {
	return a.parse(path, "", "--replace", path)
}

// parse runs apparmor_parser with text as its input; what is for messages.
func (a AppArmor) parse(what, text string, args ...string) error {
	parser := ""
	for _, p := range a.parser {
		if _, err := os.Stat(p); err == nil {
			parser = p
			break
		}
	}
	if parser == "" {
		return errors.New("apparmor_parser is not installed: install the package apparmor")
	}
	ctx, cancel := context.WithTimeout(context.Background(), parserTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, parser, args...)
	cmd.Stdin = strings.NewReader(text)
	cmd.Env = []string{} // not nil: that would be ours
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("apparmor_parser cannot load profile %s: %w: %s", what, err, oneLine(out))
	}
	return nil
}

func oneLine(b []byte) string {
	return strings.Join(strings.Fields(string(b)), " ")
}

// DefaultText is the text of [DefaultProfile]: equal in effect to the profile
// of Docker's containers. All is allowed that the other walls allow, and then
// taken away: mounting, and what /proc and /sys have beyond processes and
// control groups. Its walls are those of the masked and read-only paths once
// more, for a program that gets around the mounts. The caller is the profile
// that the calling process runs under, which may send signals; empty for none.
//
// The text includes no file of the machine's, so that it means the same on
// every one.
func DefaultText(caller string) string {
	peers := []string{"unconfined", "berth", "runc", "crun"}
	if caller != "" {
		peers = append(peers, caller)
	}
	var receive strings.Builder
	for _, p := range peers {
		fmt.Fprintf(&receive, "  signal (receive) peer=\"%s\",\n", p)
	}
	return `@{PROC}=/proc/

profile ` + DefaultProfile + ` flags=(attach_disconnected,mediate_deleted) {
  network,
  capability,
  file,
  umount,

  # Who may send signals into the container, and inside it.
` + receive.String() + `  signal (send,receive) peer=` + DefaultProfile + `,
  ptrace (trace,read,tracedby,readby) peer=` + DefaultProfile + `,

  deny mount,

  # In /proc: nothing but processes, and of the settings those for shared
  # memory and messages between processes.
  deny @{PROC}/* w,
  deny @{PROC}/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}/** w,
  deny @{PROC}/sys/[^k]** w,
  deny @{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w,
  deny @{PROC}/sysrq-trigger rwklx,
  deny @{PROC}/kcore rwklx,

  # In /sys: nothing but /sys/fs/cgroup, and some not even to read.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
`
}
