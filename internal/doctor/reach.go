package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// network says what containers find outside: now all of it is the host's.
func (p *patient) network() []Finding {
	var servers []string
	for line := range strings.Lines(p.read("etc/resolv.conf")) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			servers = append(servers, f[1])
		}
	}
	facts := []string{"name servers " + and(servers)}
	if p.read("proc/sys/net/ipv4/ip_forward") == "1" {
		facts = append(facts, "packets are passed on")
	} else {
		facts = append(facts, "packets are not passed on (net.ipv4.ip_forward)")
	}
	for _, tool := range [][]string{{"pasta"}, {"slirp4netns"}, {"nft"}} {
		if path := p.find(tool...); path != "" {
			facts = append(facts, path)
		} else {
			facts = append(facts, "no "+tool[0])
		}
	}
	if p.has("dev/net/tun") {
		facts = append(facts, "/dev/net/tun")
	} else {
		facts = append(facts, "no /dev/net/tun")
	}
	if len(servers) == 0 {
		return []Finding{warning("/etc/resolv.conf names no server", "names are not found, here and in containers", "name one there, or give containers --dns ADDRESS")}
	}
	return []Finding{fine("%s", strings.Join(facts, ", "))}
}

// gpus looks for graphics processors and what their programs need. It opens
// none: that can take a second and wake the card.
func (p *patient) gpus() []Finding {
	nvidia, _ := filepath.Glob(p.path("dev/nvidia[0-9]*"))
	amd, _ := filepath.Glob(p.path("dev/dri/renderD*"))
	var out []Finding
	version := ""
	if line, _, _ := strings.Cut(p.read("proc/driver/nvidia/version"), "\n"); line != "" {
		version = driverVersion(line)
	}
	switch {
	case len(nvidia) > 0:
		out = p.nvidia(nvidia, version)
	case version != "":
		out = []Finding{warning("the NVIDIA driver "+version+" is loaded, and no /dev/nvidia0 is there", "containers cannot be given a GPU",
			"sudo nvidia-modprobe -c 0 -u, or start nvidia-persistenced")}
	}
	if p.has("dev/kfd") && len(amd) > 0 {
		if unix.Access(p.path("dev/kfd"), unix.R_OK|unix.W_OK) != nil {
			out = append(out, warning(fmt.Sprintf("%d AMD GPUs are there, and this account may not use them", len(amd)), "programs find none",
				"an administrator adds the account to the groups of /dev/kfd: sudo usermod -aG render,video NAME"))
		} else {
			out = append(out, fine("%d AMD GPUs", len(amd)))
		}
	}
	if len(out) == 0 {
		out = append(out, fine("no NVIDIA or AMD GPU"))
	}
	return out
}

// driverVersion is the number in what the driver says of itself, such as
// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue …".
func driverVersion(line string) string {
	for _, f := range strings.Fields(line) {
		if f[0] >= '0' && f[0] <= '9' && strings.Contains(f, ".") {
			return f
		}
	}
	return "of unknown version"
}

func (p *patient) nvidia(nodes []string, version string) []Finding {
	if version == "" {
		return []Finding{warning("/dev/nvidia0 is there, and no driver", "containers cannot be given a GPU", "sudo modprobe nvidia")}
	}
	var out []Finding
	closed := slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return unix.Access(n, unix.R_OK|unix.W_OK) == nil })
	if len(closed) > 0 {
		out = append(out, warning(fmt.Sprintf("%d of %d NVIDIA GPUs are closed to this account", len(closed), len(nodes)), "programs do not find them",
			"an administrator opens them: NVreg_DeviceFileMode=0666, or the group of "+strings.TrimPrefix(closed[0], strings.TrimSuffix(p.root, "/"))))
	}
	if !p.has("dev/nvidia-uvm") {
		out = append(out, warning("/dev/nvidia-uvm is missing", "CUDA does not start in containers", "sudo nvidia-modprobe -u -c 0"))
	}
	if p.libcuda() == "" {
		out = append(out, warning("libcuda.so.1 is not found", "CUDA programs in containers have no driver library", "install the driver's user part, such as the package libcuda1"))
	}
	if len(out) == 0 {
		out = append(out, fine("%d NVIDIA GPUs, driver %s, %s", len(nodes), version, p.libcuda()))
	}
	return out
}

func (p *patient) libcuda() string {
	for _, dir := range []string{"usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib", "usr/lib/wsl/lib", "usr/local/nvidia/lib64", "usr/lib/x86_64-linux-gnu/nvidia/current"} {
		if p.has(dir + "/libcuda.so.1") {
			return "/" + dir + "/libcuda.so.1"
		}
	}
	return ""
}

// reachable says which registries answer.
func (p *patient) reachable() []Finding {
	if p.badAsk != nil {
		return []Finding{warning("the registries could not be asked: "+p.badAsk.Error(), "pulls may fail", "")}
	}
	var out []Finding
	for _, a := range p.answers {
		if a.Why == "" {
			out = append(out, fine("%s answers (%s)", a.Domain, a.Server))
			continue
		}
		fix := "if this network needs a proxy, set HTTPS_PROXY or the key proxies; a mirror: the key registry-mirrors"
		out = append(out, warning(a.Why, "images of "+a.Domain+" cannot be pulled; what is here runs, and load takes archives", fix))
	}
	return out
}

// badClock is what certificates and signed addresses may not bear.
const badClock = 5 * time.Minute

// clock compares with the clocks of registries.
func (p *patient) clock() []Finding { return judgeClock(time.Now(), p.answers) }

func judgeClock(now time.Time, answers []Answer) []Finding {
	const fix = "an administrator sets it: sudo timedatectl set-ntp true"
	for _, a := range answers {
		if a.Date.IsZero() {
			continue
		}
		off := now.Sub(a.Date).Round(time.Second)
		if off.Abs() < badClock {
			return []Finding{fine("the clock agrees with that of %s", a.Server)}
		}
		return []Finding{warning(fmt.Sprintf("the clock is %v off that of %s", off, a.Server), "certificates and tokens are taken for expired, or for not valid yet", fix)}
	}
	if now.Year() < 2026 {
		return []Finding{warning("the clock says "+now.Format(time.DateOnly), "certificates are taken for not valid yet", fix)}
	}
	return []Finding{fine("it is %s by this machine's clock", now.Format("2006-01-02 15:04 MST"))}
}

// credentials looks at Docker's client configuration.
func (p *patient) credentials() []Finding {
	path := filepath.Join(p.docker, "config.json")
	b, err := os.ReadFile(path)
	switch {
	case p.docker == "" || errors.Is(err, fs.ErrNotExist):
		return []Finding{fine("none are stored")}
	case err != nil:
		return []Finding{warning("cannot read "+path+": "+err.Error(), "private images cannot be pulled", "")}
	}
	var doc struct {
		Auths       map[string]any    `json:"auths"`
		CredHelpers map[string]string `json:"credHelpers"`
		CredsStore  string            `json:"credsStore"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return []Finding{failure(fmt.Sprintf("%s is not valid JSON: %v", path, err), "pulls and pushes fail", "mend it, or remove it and log in again")}
	}
	var out []Finding
	if fi, err := os.Stat(path); err == nil && fi.Mode().Perm()&0o077 != 0 && len(doc.Auths) > 0 {
		f := warning(fmt.Sprintf("%s has mode %04o", path, fi.Mode().Perm()), "others may read the passwords in it", "chmod 600 "+quote(path))
		out = append(out, f.by(func() (string, error) { return "chmod 600 " + path, os.Chmod(path, 0o600) }))
	}
	helpers := []string{doc.CredsStore}
	for _, h := range doc.CredHelpers {
		helpers = append(helpers, h)
	}
	slices.Sort(helpers)
	for _, h := range slices.Compact(helpers) {
		if h == "" {
			continue
		}
		if _, err := exec.LookPath("docker-credential-" + h); err != nil {
			out = append(out, warning("docker-credential-"+h+" is not installed, and "+path+" names it", "what it keeps cannot be had",
				"install it, or take it out of that file and log in again"))
		}
	}
	if len(out) == 0 {
		out = append(out, fine("%s can be read, and only by its owner", path))
	}
	return out
}
