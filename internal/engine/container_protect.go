package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"berth/internal/lsm"
	"berth/internal/spec"
)

// protection finds out what the kernel's security modules offer containers,
// and loads the profile that root's have by default.
func protection(h *spec.Host) {
	h.SELinux.Process, h.SELinux.File = lsm.NewSELinux().Contexts()
	a := lsm.NewAppArmor()
	if h.AppArmor = a.Enabled(); !h.AppArmor || h.Rootless {
		return
	}
	if err := a.LoadDefault(); err != nil {
		h.AppArmorProblem = err.Error()
		return
	}
	h.AppArmorDefault = lsm.DefaultProfile
}

// protection are the AppArmor profile and the SELinux labels of a container, as
// `inspect` shows them; empty where there are none.
func (e *Engine) protection(r *record) (profile, process, mounts string) {
	h := spec.Host{Rootless: e.host.Rootless, AppArmor: lsm.NewAppArmor().Enabled()}
	if !h.Rootless {
		h.AppArmorDefault = lsm.DefaultProfile
	}
	h.SELinux.Process, h.SELinux.File = lsm.NewSELinux().Contexts()
	hc := e.settledHost(r)
	profile, _ = spec.AppArmorProfile(hc, h) // the options were read when it was made
	process, mounts, _ = spec.Labels(spec.Input{ID: r.ID, HostConfig: hc, Host: h})
	return profile, process, mounts
}

// shareLabel gives a container that shares the processes or the memory of
// another one that one's SELinux label, without which it could not reach them.
func (e *Engine) shareLabel(hc *container.HostConfig) {
	var h spec.Host
	if h.SELinux.Process, h.SELinux.File = lsm.NewSELinux().Contexts(); h.SELinux.Process == "" || spec.OwnLabels(hc) {
		return
	}
	for _, mode := range []string{string(hc.PidMode), string(hc.IpcMode)} {
		id, ok := strings.CutPrefix(mode, "container:")
		if !ok {
			continue
		}
		other, _, err := e.load(id)
		if err != nil {
			continue // the start says so
		}
		process, _, err := spec.Labels(spec.Input{ID: other.ID, HostConfig: e.settledHost(other), Host: h})
		if err == nil {
			hc.SecurityOpt = spec.WithLabel(hc.SecurityOpt, process)
		}
		return
	}
}

// labelFiles gives what is bound into the container its SELinux label: berth's
// own files, volumes, and folders of the host's that were given with :z or :Z.
// (What is mounted for it alone gets the label with the mount.)
func (e *Engine) labelFiles(r *record, in *spec.Input) error {
	_, own, err := spec.Labels(*in)
	if err != nil || own == "" {
		return err
	}
	shared := spec.SharedLabel(own)
	label := func(path, label string) error {
		if err := lsm.Relabel(path, label); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &Error{Kind: ErrInvalid, Text: fmt.Sprintf("error setting label on mount source '%s': %v", path, err)}
		}
		return nil
	}
	if r.Driver == driverCopy && !lsm.Has(in.Rootfs, own) {
		if err := label(in.Rootfs, own); err != nil {
			return err
		}
	}
	etc := own
	if r.HostConfig.NetworkMode.IsContainer() {
		etc = shared // they are the other container's
	}
	for _, file := range []string{in.Files.Hosts, in.Files.ResolvConf, in.Files.Hostname} {
		if err := label(file, etc); err != nil {
			return err
		}
	}
	for _, p := range r.Mounts {
		words := strings.Split(p.Mode, ",")
		_, tmpfs := e.volumes().Tmpfs(p.Name)
		switch {
		case slices.Contains(words, "Z"):
			err = label(p.Source, own)
		case slices.Contains(words, "z"), p.Type == mount.TypeVolume && !tmpfs:
			err = label(p.Source, shared)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
