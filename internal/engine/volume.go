package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/volume"

	"berth/internal/state"
)

// A volume is the folder volumes/NAME with meta.json and _data, the folder that
// containers see. It comes whole by a rename and goes whole by one. With the
// option o=bind, _data is a link to a folder elsewhere.

// VolumeCreateOptions asks for a volume. Without a name it is anonymous.
type VolumeCreateOptions struct {
	Name       string
	Driver     string // empty or local
	DriverOpts map[string]string
	Labels     map[string]string
}

// anonymousLabel marks volumes that nobody has named, in Docker's words.
const anonymousLabel = "com.docker.volume.anonymous"

const (
	localDriver    = "local"
	volumeMetaFile = "meta.json"
	volumeDataDir  = "_data"
)

// volumeRecord is a volume's meta.json.
type volumeRecord struct {
	V       int               `json:"v"`
	Name    string            `json:"name"`
	Created time.Time         `json:"created"`
	Labels  map[string]string `json:"labels,omitempty"`
	Options map[string]string `json:"options,omitempty"`
}

// VolumeCreate makes a volume. One that is there already is returned as it is,
// whatever else was asked.
func (e *Engine) VolumeCreate(ctx context.Context, opt VolumeCreateOptions) (volume.Volume, error) {
	fail := func(err error) (volume.Volume, error) {
		return volume.Volume{}, wrapError("create "+opt.Name, err)
	}
	r := volumeRecord{V: 1, Name: opt.Name, Created: time.Now().UTC(), Labels: opt.Labels, Options: opt.DriverOpts}
	if r.Name == "" {
		r.Name = newID()
		r.Labels = map[string]string{anonymousLabel: ""}
		for k, v := range opt.Labels {
			r.Labels[k] = v
		}
	} else if err := checkVolumeName(r.Name); err != nil {
		return fail(err)
	}
	if opt.Driver != "" && opt.Driver != localDriver {
		return fail(&Error{Kind: ErrNotFound, Text: fmt.Sprintf("error looking up volume plugin %s: plugin %q not found (berth has only the driver local)", opt.Driver, opt.Driver)})
	}
	old, err := e.readVolume(r.Name)
	if err == nil {
		return e.volume(old), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fail(err)
	}
	link, err := checkVolumeOptions(opt.DriverOpts)
	if err != nil {
		return fail(err)
	}
	if r, err = e.makeVolume(r, link); err != nil {
		return fail(err)
	}
	return e.volume(r), nil
}

// makeVolume puts a volume together and renames it into place. When another
// process has been faster, its volume is the result.
func (e *Engine) makeVolume(r volumeRecord, link string) (volumeRecord, error) {
	tmp, err := e.dir.Temp()
	if err != nil {
		return r, err
	}
	defer tmp.Close()
	if err := os.Mkdir(tmp.Path("v"), 0o755); err != nil {
		return r, err
	}
	if link != "" {
		err = os.Symlink(link, tmp.Path("v", volumeDataDir))
	} else {
		err = os.Mkdir(tmp.Path("v", volumeDataDir), 0o755)
	}
	if err == nil && link == "" {
		err = os.Chmod(tmp.Path("v", volumeDataDir), 0o755) // whatever the umask
	}
	if err == nil {
		err = writeVolume(tmp.Path("v", volumeMetaFile), r)
	}
	if err != nil {
		return r, err
	}
	err = os.Rename(tmp.Path("v"), e.volumeDir(r.Name))
	if errors.Is(err, fs.ErrExist) {
		old, e := e.readVolume(r.Name)
		if errors.Is(e, fs.ErrNotExist) {
			return r, fmt.Errorf("something that is no volume is in its place: %w", err)
		}
		return old, e
	}
	return r, err
}

// writeVolume stores a record. That of an anonymous volume is not synced, which
// would be half of the time that a start takes: [Engine.readVolume] does without.
func writeVolume(path string, r volumeRecord) error {
	if _, anonymous := r.Labels[anonymousLabel]; !anonymous {
		return state.WriteJSON(path, &r)
	}
	b, err := json.Marshal(&r)
	if err != nil {
		return err
	}
	return state.WriteVolatile(path, append(b, '\n'), 0o600)
}

func (e *Engine) volumeDir(name string) string { return e.dir.Path("volumes", name) }

// readVolume reads a volume's record. A missing one is [fs.ErrNotExist].
func (e *Engine) readVolume(name string) (volumeRecord, error) {
	var r volumeRecord
	path := e.dir.Path("volumes", name, volumeMetaFile)
	if err := state.ReadJSON(path, &r); err != nil {
		fi, e := os.Stat(path)
		if e != nil || fi.Size() > 0 || len(name) != 64 || !isHex(name) {
			return r, err
		}
		// The machine went down before the file had its content.
		return volumeRecord{V: 1, Name: name, Created: fi.ModTime().UTC(), Labels: map[string]string{anonymousLabel: ""}}, nil
	}
	if r.V > 1 {
		return r, fmt.Errorf("it was made by a newer berth (format %d): use that version", r.V)
	}
	r.Name = name
	return r, nil
}

// volume says a record in Docker's words.
func (e *Engine) volume(r volumeRecord) volume.Volume {
	return volume.Volume{
		Name: r.Name, Driver: localDriver, Scope: localDriver,
		Mountpoint: e.dir.Path("volumes", r.Name, volumeDataDir),
		CreatedAt:  r.Created.Format(time.RFC3339),
		Labels:     r.Labels, Options: r.Options,
	}
}

// VolumeInspect returns one volume.
func (e *Engine) VolumeInspect(ctx context.Context, name string) (volume.Volume, error) {
	r, err := e.findVolume(name)
	if err != nil {
		return volume.Volume{}, err
	}
	return e.volume(r), nil
}

func (e *Engine) findVolume(name string) (volumeRecord, error) {
	if checkVolumeName(name) != nil {
		return volumeRecord{}, noVolume(name)
	}
	r, err := e.readVolume(name)
	if errors.Is(err, fs.ErrNotExist) {
		return r, noVolume(name)
	}
	return r, wrapError("get "+name, err)
}

func noVolume(name string) error {
	return &Error{Kind: ErrNotFound, Text: "get " + name + ": no such volume"}
}

// volumeNames lists the folders of volumes by name.
func (e *Engine) volumeNames() ([]string, error) {
	entries, err := os.ReadDir(e.dir.Path("volumes"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, en := range entries {
		if en.IsDir() && checkVolumeName(en.Name()) == nil {
			out = append(out, en.Name())
		}
	}
	return out, nil
}

// VolumeList lists volumes by name. Damaged ones are named by a warning.
// Filters: dangling, driver, label, name.
func (e *Engine) VolumeList(ctx context.Context, filters map[string][]string) (volume.ListResponse, error) {
	var out volume.ListResponse
	match, err := e.volumeFilter(filters, "dangling", "driver", "label", "name")
	if err != nil {
		return out, err
	}
	names, err := e.volumeNames()
	if err != nil {
		return out, err
	}
	for _, name := range names {
		r, err := e.readVolume(name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		case err != nil:
			out.Warnings = append(out.Warnings, fmt.Sprintf("volume %s: %v", name, err))
		case match(r):
			out.Volumes = append(out.Volumes, e.volume(r))
		}
	}
	return out, nil
}

// holdVolumes keeps volumes from being removed. Whoever makes a container holds
// it from before its volumes are chosen until the container's record, which
// then speaks for them, is in place.
func (e *Engine) holdVolumes() (*state.Tx, error) { return state.RLock(e.dir.Path("volumes", ".lock")) }

// VolumeRemove removes a volume that no container uses. With force a missing
// one is no error.
func (e *Engine) VolumeRemove(ctx context.Context, name string, force bool) error {
	gone, err := e.takeVolume(name)
	if force && errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return wrapError("remove "+name, gone.Close())
}

// takeVolume moves a volume that no container uses out of sight. Closing the
// result removes it, which may take long and needs no lock.
func (e *Engine) takeVolume(name string) (*state.Temp, error) {
	tx, err := state.Lock(e.dir.Path("volumes", ".lock"))
	if err != nil {
		return nil, err
	}
	defer tx.Unlock()
	if _, err := os.Lstat(e.volumeDir(name)); checkVolumeName(name) != nil || errors.Is(err, fs.ErrNotExist) {
		return nil, noVolume(name)
	}
	users, err := e.volumeUsers()
	if err != nil {
		return nil, err
	}
	if ids := users[name]; len(ids) > 0 {
		return nil, &Error{Kind: ErrConflict, Text: fmt.Sprintf("remove %s: volume is in use - [%s]", name, strings.Join(ids, ", "))}
	}
	tmp, err := e.dir.Temp()
	if err != nil {
		return nil, err
	}
	if err := os.Rename(e.volumeDir(name), tmp.Path("v")); err != nil {
		return nil, wrapError("remove "+name, errors.Join(err, tmp.Close()))
	}
	return tmp, nil
}

// volumeUsers tells for every volume in use the IDs of its containers.
func (e *Engine) volumeUsers() (map[string][]string, error) {
	ids, err := e.containerIDs()
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	users := map[string][]string{}
	for _, id := range ids {
		var r record
		err := state.ReadJSON(e.containerDir(id, recordFile), &r)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			// Its volumes are unknown, so none may go.
			return nil, fmt.Errorf("cannot tell which volumes are in use: %w", err)
		}
		for _, m := range r.Mounts {
			if m.Type == mount.TypeVolume && m.Name != "" && !slices.Contains(users[m.Name], id) {
				users[m.Name] = append(users[m.Name], id)
			}
		}
	}
	return users, nil
}

// VolumePrune removes volumes that no container uses: the anonymous ones, or
// all. Filters: label, label!, all.
func (e *Engine) VolumePrune(ctx context.Context, all bool, filters map[string][]string) (volume.PruneReport, error) {
	var rep volume.PruneReport
	match, err := e.volumeFilter(filters, "label", "label!", "all")
	if err != nil {
		return rep, err
	}
	users, err := e.volumeUsers()
	if err != nil {
		return rep, err
	}
	names, err := e.volumeNames()
	if err != nil {
		return rep, err
	}
	all = all || slices.ContainsFunc(filters["all"], isTrue)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return rep, err
		}
		r, err := e.readVolume(name)
		if err != nil || len(users[name]) > 0 || !match(r) {
			continue
		}
		if _, anonymous := r.Labels[anonymousLabel]; !all && !anonymous {
			continue
		}
		gone, err := e.takeVolume(name)
		if errors.Is(err, ErrConflict) || errors.Is(err, ErrNotFound) {
			continue // somebody was faster
		}
		if err != nil {
			return rep, err
		}
		size := treeSize(gone.Path("v", volumeDataDir))
		if err := gone.Close(); err != nil {
			return rep, wrapError("remove "+name, err)
		}
		rep.VolumesDeleted = append(rep.VolumesDeleted, name)
		rep.SpaceReclaimed += uint64(size)
	}
	return rep, nil
}
