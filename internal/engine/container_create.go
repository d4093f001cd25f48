package engine

import (
	"cmp"
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"berth/internal/logs"
	"berth/internal/logs/logopt"
	"berth/internal/roster"
	"berth/internal/spec"
	"berth/internal/store"
)

// ContainerCreate makes a container without starting it.
func (e *Engine) ContainerCreate(ctx context.Context, opt CreateOptions) (Created, error) {
	img, err := e.images.For(ctx, opt.Config.Image, opt.Platform, opt.Pull, opt.Progress)
	if err != nil {
		return Created{}, err
	}
	r, warnings, err := e.newRecord(opt, img)
	if err != nil {
		return Created{}, err
	}
	if err := e.ensureLayers(ctx, r); err != nil {
		return Created{}, err
	}
	e.dir.Sweep() // of what killed commands have left half-made
	why, err := e.place(ctx, r, img)
	if err != nil {
		return Created{}, err
	}
	if why != "" {
		warnings = append(warnings, e.copyNote(why))
	}
	if err := e.ensureVolumes(ctx, r); err != nil {
		return Created{}, errors.Join(err, e.ContainerRemove(ctx, r.ID, RemoveOptions{Volumes: true}))
	}
	e.noteContainer(r, events.ActionCreate)
	return Created{ID: r.ID, Name: r.Name, Warnings: warnings}, nil
}

// newRecord completes the request from the image and checks it.
func (e *Engine) newRecord(opt CreateOptions, img store.Image) (*record, []string, error) {
	name, err := e.roster.Name(opt.Name)
	if err != nil {
		return nil, nil, err
	}
	cfg, hc := *opt.Config, container.HostConfig{}
	if opt.HostConfig != nil {
		hc = *opt.HostConfig
	}
	user := cfg.User
	notes := e.tellProxies(&cfg, &hc, opt.Proxies)
	roster.Complete(&cfg, &img.Config.Config)
	if len(cfg.Entrypoint)+len(cfg.Cmd) == 0 {
		return nil, nil, &Error{Kind: ErrInvalid, Text: "no command specified: the image names none, give one after the image"}
	}
	warnings, err := roster.SettleNetwork(&cfg, &hc)
	if err != nil {
		return nil, nil, err
	}
	places, err := e.Networks().Settle(&hc, opt.Network)
	if err != nil {
		return nil, nil, err
	}
	warnings = append(append(notes, warnings...), e.applySite(&hc)...)
	if err := e.settleModes(&hc); err != nil {
		return nil, nil, err
	}
	ids, err := e.settleIDs(&hc, &cfg, user)
	if err != nil {
		return nil, nil, err
	}
	if cfg.StopSignal != "" {
		if _, err := spec.ParseSignal(cfg.StopSignal); err != nil {
			return nil, nil, &Error{Kind: ErrInvalid, Text: err.Error()}
		}
	}
	if path, _, err := e.otherRuntime(hc.Runtime); err != nil {
		return nil, nil, err
	} else if strings.Contains(hc.Runtime, "/") {
		hc.Runtime = path // wherever it is started from
	}
	if err := spec.Validate(&cfg, &hc); err != nil {
		return nil, nil, &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	if err := settleLog(&hc.LogConfig); err != nil {
		return nil, nil, err
	}
	r := &record{
		V: 1, ID: roster.NewID(), Name: name, Created: time.Now().UTC(), Image: opt.Config.Image,
		ImageID: img.ID, Layers: img.Layers, Platform: img.Platform().String(),
		IDs: ids, Run: opt.run, StrictLimits: opt.StrictLimits, Config: &cfg, HostConfig: &hc, Networks: places,
	}
	e.nameHost(r)
	return r, warnings, nil
}

// settleLog names the log driver and checks its options.
func settleLog(c *container.LogConfig) error {
	if c.Type == "" {
		c.Type = logs.JSONFile
	}
	if c.Config == nil {
		c.Config = map[string]string{}
	}
	if _, err := logopt.Check(c.Type, c.Config); err != nil {
		return &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	return nil
}

// nameHost gives the container a host name: that of the host, or of the
// container, whose network it shares, else the beginning of its ID.
func (e *Engine) nameHost(r *record) {
	if r.Config.Hostname != "" {
		return
	}
	r.Config.Hostname = shortID(r.ID)
	if r.HostConfig.NetworkMode == "host" || r.HostConfig.UTSMode == "host" {
		r.Config.Hostname = e.host.Hostname()
	}
	if id, ok := strings.CutPrefix(string(r.HostConfig.NetworkMode), "container:"); ok {
		if other, _, err := e.load(id); err == nil {
			r.Config.Hostname = other.Config.Hostname
		}
	}
}

// place writes the container's folder under a temporary name, claims its name
// and renames it into the list. Before the rename nothing is visible, after it
// everything is there.
// It says why the root is a copy if nobody has asked for that.
func (e *Engine) place(ctx context.Context, r *record, img store.Image) (why string, err error) {
	tmp, err := e.dir.TempFor("containers")
	if err != nil {
		return "", err
	}
	defer tmp.Close()
	for _, d := range []string{"", upperDir, workDir, rootfsDir} {
		if err := os.Mkdir(tmp.Path("c", d), 0o755); err != nil {
			return "", err
		}
	}
	// It is what the container sees as /, where the caller's umask has no say.
	if err := os.Chmod(tmp.Path("c", upperDir), 0o755); err != nil {
		return "", err
	}
	r.Driver, why = e.driver(img.Layers)
	why = cmp.Or(e.settleDriver(r, tmp.Path("c")), why)
	volumes, err := e.volumes().Hold()
	if err != nil {
		return "", err
	}
	defer volumes.Unlock()
	if err := e.resolveMounts(ctx, r); err != nil {
		return "", err
	}
	if r.Driver == driverCopy {
		if err := e.copyLayers(ctx, r, "/", tmp.Path("c", rootfsDir)); err != nil {
			return "", err
		}
	}
	// The collector of images may not run between the look at the layers
	// and the moment the container that needs them is listed.
	hold, err := e.store.Hold()
	if err != nil {
		return "", err
	}
	defer hold.Unlock()
	if _, err := e.stack(r); err != nil {
		return "", err
	}
	if err := e.roster.Claim(r, r.Name); err != nil {
		return "", err
	}
	if err := e.roster.Write(tmp.Path("c"), r); err != nil {
		e.roster.Names().Release(r.Name, r.ID)
		return "", err
	}
	if err := os.Rename(tmp.Path("c"), e.containerDir(r.ID)); err != nil {
		e.roster.Names().Release(r.Name, r.ID)
		return "", err
	}
	return why, nil
}
