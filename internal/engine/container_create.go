package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"

	"berth/internal/layer"
	"berth/internal/spec"
	"berth/internal/state"
	"berth/internal/store"
)

// ContainerCreate makes a container without starting it.
func (e *Engine) ContainerCreate(ctx context.Context, opt CreateOptions) (Created, error) {
	img, err := e.imageFor(ctx, opt.Config.Image, opt.Platform, opt.Pull, opt.Progress)
	if err != nil {
		return Created{}, err
	}
	r, warnings, err := e.newRecord(opt, img)
	if err != nil {
		return Created{}, err
	}
	e.dir.Sweep() // of what killed commands have left half-made
	if err := e.place(ctx, r, opt.Name, img); err != nil {
		return Created{}, err
	}
	if err := e.ensureVolumes(ctx, r); err != nil {
		return Created{}, errors.Join(err, e.ContainerRemove(ctx, r.ID, RemoveOptions{Volumes: true}))
	}
	return Created{ID: r.ID, Name: r.Name, Warnings: warnings}, nil
}

// newRecord completes the request from the image and checks it.
func (e *Engine) newRecord(opt CreateOptions, img store.Image) (*record, []string, error) {
	if opt.Name != "" {
		opt.Name = strings.TrimPrefix(opt.Name, "/")
		if err := checkName(opt.Name); err != nil {
			return nil, nil, err
		}
	}
	cfg, hc := *opt.Config, container.HostConfig{}
	if opt.HostConfig != nil {
		hc = *opt.HostConfig
	}
	mergeImage(&cfg, &img.Config.Config)
	if len(cfg.Entrypoint)+len(cfg.Cmd) == 0 {
		return nil, nil, &Error{Kind: ErrInvalid, Text: "no command specified: the image names none, give one after the image"}
	}
	warnings, err := settleNetwork(&cfg, &hc)
	if err != nil {
		return nil, nil, err
	}
	if err := e.settleModes(&hc); err != nil {
		return nil, nil, err
	}
	if cfg.StopSignal != "" {
		if _, err := spec.ParseSignal(cfg.StopSignal); err != nil {
			return nil, nil, &Error{Kind: ErrInvalid, Text: err.Error()}
		}
	}
	if err := spec.Validate(&cfg, &hc); err != nil {
		return nil, nil, &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	r := &record{
		V: 1, ID: newID(), Name: opt.Name, Created: time.Now().UTC(), Image: opt.Config.Image,
		ImageID: img.ID, Layers: img.Layers, Driver: e.driver(img.Layers), Platform: img.Platform().String(),
		Run: opt.run, Config: &cfg, HostConfig: &hc,
	}
	r.nameHost(e)
	return r, warnings, nil
}

// nameHost gives the container a host name: that of the host, or of the
// container, whose network it shares, else the beginning of its ID.
func (r *record) nameHost(e *Engine) {
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

// driver chooses how the root file system will be made.
func (e *Engine) driver(diffIDs []string) string {
	switch {
	case e.config.Storage == driverOverlay:
		return driverOverlay
	case e.config.Storage == driverCopy, !e.host.OverlayPossible(), !layer.Open(e.dir).OverlayFits(diffIDs):
		return driverCopy
	}
	return driverOverlay
}

// place writes the container's folder under a temporary name, claims its name
// and renames it into the list. Before the rename nothing is visible, after it
// everything is there.
func (e *Engine) place(ctx context.Context, r *record, name string, img store.Image) error {
	tmp, err := e.dir.Temp()
	if err != nil {
		return err
	}
	defer tmp.Close()
	for _, d := range []string{"", upperDir, workDir, rootfsDir} {
		if err := os.Mkdir(tmp.Path("c", d), 0o755); err != nil {
			return err
		}
	}
	volumes, err := e.volumes().Hold()
	if err != nil {
		return err
	}
	defer volumes.Unlock()
	if err := e.resolveMounts(ctx, r); err != nil {
		return err
	}
	if r.Driver == driverCopy {
		if err := e.materialize(img.Layers, tmp.Path("c", rootfsDir)); err != nil {
			return err
		}
	}
	// The collector of images may not run between the look at the layers
	// and the moment the container that needs them is listed.
	hold, err := e.images.Hold()
	if err != nil {
		return err
	}
	defer hold.Unlock()
	if _, err := e.stack(r.Layers); err != nil {
		return err
	}
	if err := e.claimName(r, name); err != nil {
		return err
	}
	if err := e.writeRecord(tmp.Path("c"), r); err != nil {
		e.names().Release(r.Name, r.ID)
		return err
	}
	if err := os.Rename(tmp.Path("c"), e.containerDir(r.ID)); err != nil {
		e.names().Release(r.Name, r.ID)
		return err
	}
	return nil
}

// writeRecord syncs the record of a container that is meant to last.
func (e *Engine) writeRecord(dir string, r *record) error {
	b, err := marshalRecord(r)
	if err != nil {
		return err
	}
	write := state.WriteFile
	if r.HostConfig.AutoRemove {
		write = state.WriteVolatile
	}
	return write(dir+"/"+recordFile, b, 0o600)
}

// claimName takes the asked name, or makes one up.
func (e *Engine) claimName(r *record, name string) error {
	names := e.names()
	if name != "" {
		r.Name = name
		err := names.Claim(name, r.ID)
		var used *state.NameInUseError
		if errors.As(err, &used) {
			e.sweepNames() // a killed rename may hold it
			err = names.Claim(name, r.ID)
		}
		if errors.As(err, &used) {
			return &Error{Kind: ErrConflict, Text: fmt.Sprintf("Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, used.ID)}
		}
		return err
	}
	for i := range 100 {
		r.Name = madeUpName(i > 10)
		err := names.Claim(r.Name, r.ID)
		var used *state.NameInUseError
		if !errors.As(err, &used) {
			return err
		}
	}
	return errors.New("cannot find a free name: give one with --name")
}

// madeUpName joins a quality and something of the sea.
func madeUpName(numbered bool) string {
	qualities := strings.Fields("able amber bold brave brisk calm clear clever crisp deep eager early even fair fast fine firm " +
		"fresh gentle glad golden grand happy hardy jolly keen kind light lively lucky merry mild neat noble proud quick quiet " +
		"ready silver smart snug sound steady still stout sunny sure swift tidy true trusty vivid warm wise witty")
	things := strings.Fields("anchor bay beacon bow breeze brig buoy cape capstan cutter deck dinghy dock dolphin ferry fjord gale " +
		"galley gannet gull harbor haven heron hull inlet island jetty keel ketch lagoon lantern lighthouse lugger mast mole " +
		"moor osprey otter pearl pelican pier pilot port prow quay rudder sail schooner seal skiff sloop spar tern tide trawler " +
		"tug wave wharf yawl")
	name := qualities[rand.IntN(len(qualities))] + "_" + things[rand.IntN(len(things))]
	if numbered {
		name += fmt.Sprint(rand.IntN(1000))
	}
	return name
}

// mergeImage fills what the request leaves open, by Docker's rules.
func mergeImage(c *container.Config, img *dockerspec.DockerOCIImageConfig) {
	if c.User == "" {
		c.User = img.User
	}
	if c.WorkingDir == "" {
		c.WorkingDir = img.WorkingDir
	}
	if c.StopSignal == "" {
		c.StopSignal = img.StopSignal
	}
	if len(c.Entrypoint) == 0 && c.Entrypoint == nil {
		if len(c.Cmd) == 0 {
			c.Cmd = img.Cmd
		}
		c.Entrypoint = img.Entrypoint
	} else if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" {
		c.Entrypoint = nil // --entrypoint "" takes the image's away
	}
	c.Env = mergeEnv(img.Env, c.Env)
	c.Labels = mergeMap(img.Labels, c.Labels)
	c.Volumes = mergeMap(img.Volumes, c.Volumes)
	if c.Healthcheck == nil {
		c.Healthcheck = img.Healthcheck
	}
	mergePorts(c, img.ExposedPorts)
}

// mergeEnv keeps the image's order and lets the request replace by key.
func mergeEnv(base, over []string) []string {
	var out []string
	for _, kv := range base {
		if !hasKey(over, kv) {
			out = append(out, kv)
		}
	}
	return append(out, over...)
}

func hasKey(list []string, kv string) bool {
	key, _, _ := strings.Cut(kv, "=")
	for _, o := range list {
		if k, _, _ := strings.Cut(o, "="); k == key {
			return true
		}
	}
	return false
}

func mergeMap[V any](base, over map[string]V) map[string]V {
	if len(base) == 0 {
		return over
	}
	out := make(map[string]V, len(base)+len(over))
	for k, v := range base {
		out[k] = v
	}
	for k, v := range over {
		out[k] = v
	}
	return out
}
