// Package volume keeps the folders that outlive containers, and turns what a
// container asks to have mounted into paths.
//
// A volume is the folder volumes/NAME with meta.json and _data, the folder that
// containers see. It comes whole by a rename and goes whole by one. With the
// option o=bind, _data is a link to a folder elsewhere.
//
// The package does not know containers. Whoever opens a [Set] says which
// volumes are in use, and holds the set ([Set.Hold]) while it puts a container
// together whose use nobody can see yet.
package volume

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/volume"

	"berth/internal/errdef"
	"berth/internal/filter"
	"berth/internal/state"
)

// Set is the volumes of one data root.
type Set struct {
	dir   *state.Dir
	users Users
}

// Users tells for every volume in use the IDs of its containers. It fails when
// it cannot tell for all containers: then nothing may be removed.
type Users func() (map[string][]string, error)

// Open returns the volumes below a data root.
func Open(dir *state.Dir, users Users) *Set { return &Set{dir: dir, users: users} }

// Request asks for a volume. Without a name it is anonymous.
type Request struct {
	Name       string
	Driver     string // empty or local
	DriverOpts map[string]string
	Labels     map[string]string
}

// AnonymousLabel marks volumes that nobody has named, in Docker's words.
const AnonymousLabel = "com.docker.volume.anonymous"

// Driver is the only one there is.
const Driver = "local"

// Files in a volume's folder.
const (
	metaFile = "meta.json"
	dataDir  = "_data"
	fillLock = "fill.lock" // held while somebody copies into the empty volume
)

// record is a volume's meta.json.
type record struct {
	V       int               `json:"v"`
	Name    string            `json:"name"`
	Created time.Time         `json:"created"`
	Labels  map[string]string `json:"labels,omitempty"`
	Options map[string]string `json:"options,omitempty"`
}

// Create makes a volume. One that is there already is returned as it is,
// whatever else was asked.
func (s *Set) Create(ctx context.Context, opt Request) (volume.Volume, error) {
	fail := func(err error) (volume.Volume, error) {
		return volume.Volume{}, wrapError("create "+opt.Name, err)
	}
	r := record{V: 1, Name: opt.Name, Created: time.Now().UTC(), Labels: opt.Labels, Options: opt.DriverOpts}
	if r.Name == "" {
		r.Name = newName()
		r.Labels = map[string]string{AnonymousLabel: ""}
		for k, v := range opt.Labels {
			r.Labels[k] = v
		}
	} else if err := checkName(r.Name); err != nil {
		return fail(err)
	}
	if opt.Driver != "" && opt.Driver != Driver {
		return fail(&errdef.Error{Kind: errdef.ErrNotFound, Text: fmt.Sprintf("error looking up volume plugin %s: plugin %q not found (berth has only the driver local)", opt.Driver, opt.Driver)})
	}
	old, err := s.read(r.Name)
	if err == nil {
		return s.describe(old), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fail(err)
	}
	link, err := checkOptions(opt.DriverOpts)
	if err != nil {
		return fail(err)
	}
	if r, err = s.place(r, link); err != nil {
		return fail(err)
	}
	return s.describe(r), nil
}

// place puts a volume together and renames it into place. When another
// process has been faster, its volume is the result.
func (s *Set) place(r record, link string) (record, error) {
	tmp, err := s.dir.Temp()
	if err != nil {
		return r, err
	}
	defer tmp.Close()
	if err := os.Mkdir(tmp.Path("v"), 0o755); err != nil {
		return r, err
	}
	if link != "" {
		err = os.Symlink(link, tmp.Path("v", dataDir))
	} else {
		err = os.Mkdir(tmp.Path("v", dataDir), 0o755)
	}
	if err == nil && link == "" {
		err = os.Chmod(tmp.Path("v", dataDir), 0o755) // whatever the umask
	}
	if err == nil {
		err = writeRecord(tmp.Path("v", metaFile), r)
	}
	if err != nil {
		return r, err
	}
	err = os.Rename(tmp.Path("v"), s.folder(r.Name))
	if errors.Is(err, fs.ErrExist) {
		old, e := s.read(r.Name)
		if errors.Is(e, fs.ErrNotExist) {
			return r, fmt.Errorf("something that is no volume is in its place: %w", err)
		}
		return old, e
	}
	return r, err
}

// writeRecord stores a record. That of an anonymous volume is not synced, which
// would be half of the time that a start takes: [Set.read] does without.
func writeRecord(path string, r record) error {
	if _, anonymous := r.Labels[AnonymousLabel]; !anonymous {
		return state.WriteJSON(path, &r)
	}
	b, err := json.Marshal(&r)
	if err != nil {
		return err
	}
	return state.WriteVolatile(path, append(b, '\n'), 0o600)
}

func (s *Set) folder(name string) string { return s.dir.Path("volumes", name) }

// read reads a volume's record. A missing one is [fs.ErrNotExist].
func (s *Set) read(name string) (record, error) {
	var r record
	path := s.dir.Path("volumes", name, metaFile)
	if err := state.ReadJSON(path, &r); err != nil {
		fi, e := os.Stat(path)
		if e != nil || fi.Size() > 0 || !isAnonymous(name) {
			return r, err
		}
		// The machine went down before the file had its content.
		return record{V: 1, Name: name, Created: fi.ModTime().UTC(), Labels: map[string]string{AnonymousLabel: ""}}, nil
	}
	if r.V > 1 {
		return r, fmt.Errorf("it was made by a newer berth (format %d): use that version", r.V)
	}
	r.Name = name
	return r, nil
}

// newName makes up a name for a volume that nobody names: 64 hexadecimal digits.
func newName() string {
	var b [32]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// isAnonymous reports whether newName may have made name.
func isAnonymous(name string) bool {
	_, err := hex.DecodeString(name)
	return err == nil && len(name) == 64
}

// Data returns the folder of a volume that containers see.
func (s *Set) Data(name string) string { return s.dir.Path("volumes", name, dataDir) }

// describe says a record in Docker's words.
func (s *Set) describe(r record) volume.Volume {
	return volume.Volume{
		Name: r.Name, Driver: Driver, Scope: Driver,
		Mountpoint: s.Data(r.Name),
		CreatedAt:  r.Created.Format(time.RFC3339),
		Labels:     r.Labels, Options: r.Options,
	}
}

// Inspect returns one volume.
func (s *Set) Inspect(ctx context.Context, name string) (volume.Volume, error) {
	r, err := s.find(name)
	if err != nil {
		return volume.Volume{}, err
	}
	return s.describe(r), nil
}

func (s *Set) find(name string) (record, error) {
	if checkName(name) != nil {
		return record{}, noVolume(name)
	}
	r, err := s.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return r, noVolume(name)
	}
	return r, wrapError("get "+name, err)
}

func noVolume(name string) error {
	return &errdef.Error{Kind: errdef.ErrNotFound, Text: "get " + name + ": no such volume"}
}

// names lists the folders of volumes by name.
func (s *Set) names() ([]string, error) {
	entries, err := os.ReadDir(s.dir.Path("volumes"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, en := range entries {
		if en.IsDir() && checkName(en.Name()) == nil {
			out = append(out, en.Name())
		}
	}
	return out, nil
}

// List lists volumes by name. Damaged ones are named by a warning.
// Filters: dangling, driver, label, name.
func (s *Set) List(ctx context.Context, filters map[string][]string) (volume.ListResponse, error) {
	var out volume.ListResponse
	match, err := s.filter(filters, "dangling", "driver", "label", "name")
	if err != nil {
		return out, err
	}
	names, err := s.names()
	if err != nil {
		return out, err
	}
	for _, name := range names {
		r, err := s.read(name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		case err != nil:
			out.Warnings = append(out.Warnings, fmt.Sprintf("volume %s: %v", name, err))
		case match(r):
			out.Volumes = append(out.Volumes, s.describe(r))
		}
	}
	return out, nil
}

// Hold keeps volumes from being removed. Whoever makes a container holds
// it from before its volumes are chosen until the container's record, which
// then speaks for them, is in place.
func (s *Set) Hold() (*state.Tx, error) { return state.RLock(s.dir.Path("volumes", ".lock")) }

// Fill has data copied into a volume that is still empty. Of several who come
// at once one copies, and the others wait for it: nobody starts with half a
// volume. It must not be removed meanwhile, see [Set.Hold].
func (s *Set) Fill(name string, data func(dir string) error) error {
	tx, err := state.Lock(s.dir.Path("volumes", name, fillLock))
	if err != nil {
		return err
	}
	defer tx.Unlock()
	entries, err := os.ReadDir(s.Data(name))
	if err != nil || len(entries) > 0 {
		return nil // what cannot be read is for the mount to complain about
	}
	return data(s.Data(name))
}

// Remove removes a volume that no container uses. With force a missing
// one is no error.
func (s *Set) Remove(ctx context.Context, name string, force bool) error {
	gone, err := s.take(name)
	if force && errors.Is(err, errdef.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return wrapError("remove "+name, gone.Close())
}

// take moves a volume that no container uses out of sight. Closing the
// result removes it, which may take long and needs no lock.
func (s *Set) take(name string) (*state.Temp, error) {
	tx, err := state.Lock(s.dir.Path("volumes", ".lock"))
	if err != nil {
		return nil, err
	}
	defer tx.Unlock()
	if _, err := os.Lstat(s.folder(name)); checkName(name) != nil || errors.Is(err, fs.ErrNotExist) {
		return nil, noVolume(name)
	}
	users, err := s.users()
	if err != nil {
		return nil, err
	}
	if ids := users[name]; len(ids) > 0 {
		return nil, &errdef.Error{Kind: errdef.ErrConflict, Text: fmt.Sprintf("remove %s: volume is in use - [%s]", name, strings.Join(ids, ", "))}
	}
	tmp, err := s.dir.Temp()
	if err != nil {
		return nil, err
	}
	if err := os.Rename(s.folder(name), tmp.Path("v")); err != nil {
		return nil, wrapError("remove "+name, errors.Join(err, tmp.Close()))
	}
	return tmp, nil
}

// Prune removes volumes that no container uses: the anonymous ones, or
// all. Filters: label, label!, all.
func (s *Set) Prune(ctx context.Context, all bool, filters map[string][]string) (volume.PruneReport, error) {
	var rep volume.PruneReport
	match, err := s.filter(filters, "label", "label!", "all")
	if err != nil {
		return rep, err
	}
	users, err := s.users()
	if err != nil {
		return rep, err
	}
	names, err := s.names()
	if err != nil {
		return rep, err
	}
	all = all || slices.ContainsFunc(filters["all"], filter.True)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return rep, err
		}
		r, err := s.read(name)
		if err != nil || len(users[name]) > 0 || !match(r) {
			continue
		}
		if _, anonymous := r.Labels[AnonymousLabel]; !all && !anonymous {
			continue
		}
		gone, err := s.take(name)
		if errors.Is(err, errdef.ErrConflict) || errors.Is(err, errdef.ErrNotFound) {
			continue // somebody was faster
		}
		if err != nil {
			return rep, err
		}
		size := s.dir.Size(gone.Path("v", dataDir))
		if err := gone.Close(); err != nil {
			return rep, wrapError("remove "+name, err)
		}
		rep.VolumesDeleted = append(rep.VolumesDeleted, name)
		rep.SpaceReclaimed += uint64(size)
	}
	return rep, nil
}
