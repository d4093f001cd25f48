package roster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/errdef"
	"berth/internal/shim"
	"berth/internal/state"
)

// RecordFile is the name of the record in a container's folder.
const RecordFile = "config.json"

const lockFile = "lock"

// Set is the containers of one data root.
type Set struct {
	dir    *state.Dir
	naming Naming
}

// Naming returns what a container is called when a person says name; its error
// says why none may be called so. It must leave its own results as they are.
type Naming func(name string) (string, error)

// Open returns the containers of a data root. Nothing is read yet. Without a
// naming every name is what it says.
func Open(dir *state.Dir, naming Naming) *Set {
	if naming == nil {
		naming = func(name string) (string, error) { return name, nil }
	}
	return &Set{dir: dir, naming: naming}
}

// Path is where a container's folder is, or something in it.
func (s *Set) Path(id string, elem ...string) string {
	return s.dir.Path(append([]string{"containers", id}, elem...)...)
}

// Exists reports whether there is such a container, by its whole ID.
func (s *Set) Exists(id string) bool {
	_, err := os.Stat(s.Path(id))
	return err == nil
}

// Names are the names of containers.
func (s *Set) Names() *state.Names { return s.dir.Names("names", s.Exists) }

// Find returns the ID of the container that text names: a full ID, a name, a
// name that the naming completes, or the beginning of an ID.
func (s *Set) Find(text string) (string, error) {
	name := strings.TrimPrefix(text, "/")
	if name == "" || strings.Contains(name, "/") {
		return "", NoContainer(text)
	}
	if len(name) == 64 && IsHex(name) && s.Exists(name) {
		return name, nil
	}
	if id, err := s.lookup(name); err == nil {
		return id, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if !IsHex(name) {
		return "", NoContainer(text)
	}
	ids, err := s.IDs()
	if err != nil {
		return "", err
	}
	found := ""
	for _, id := range ids {
		if strings.HasPrefix(id, name) {
			if found != "" {
				return "", fmt.Errorf("multiple IDs found with provided prefix: %s: %w", text, errdef.ErrInvalid)
			}
			found = id
		}
	}
	if found == "" {
		return "", NoContainer(text)
	}
	return found, nil
}

// lookup finds a container by its name, or by the part of it that a person says.
func (s *Set) lookup(name string) (string, error) {
	id, err := s.Names().Lookup(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if full, nerr := s.naming(name); nerr == nil && full != name {
		return s.Names().Lookup(full)
	}
	return id, err
}

// IsHex reports whether a text is a number in lower-case hexadecimal digits.
func IsHex(s string) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}

// IDs lists the folders of containers.
func (s *Set) IDs() ([]string, error) {
	d, err := os.Open(s.dir.Path("containers"))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	ids := names[:0]
	for _, n := range names {
		if len(n) == 64 && IsHex(n) {
			ids = append(ids, n)
		}
	}
	return ids, err
}

// Load reads a container's record and its status as of now. Its error is that
// of Find when the container went away meanwhile.
func (s *Set) Load(id string) (*Record, shim.Status, error) {
	r := new(Record)
	err := state.ReadJSON(s.Path(id, RecordFile), r)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, shim.Status{}, NoContainer(id)
	}
	if err != nil {
		return nil, shim.Status{}, err
	}
	st, err := s.Status(id)
	return r, st, err
}

// Status reads state.json and corrects it by what is true now: a container
// whose shim is gone does not run, whatever is written.
func (s *Set) Status(id string) (shim.Status, error) {
	st, err := s.stored(id)
	if err != nil || !Active(st) || st.Shim.Alive() {
		return st, err
	}
	// It may have told the end since, as the last thing that it did.
	was := st.Shim
	if st, err = s.stored(id); err != nil || !Active(st) || st.Shim != was {
		return st, err
	}
	st.Phase = shim.Exited
	st.ExitCode = 128 + int(unix.SIGKILL)
	st.Error = "its shim was killed, or the machine went down"
	if fi, err := os.Stat(s.Path(id, shim.StatusFile)); err == nil && st.FinishedAt.IsZero() {
		st.FinishedAt = fi.ModTime()
	}
	return st, nil
}

// stored is the state as it was last written.
func (s *Set) stored(id string) (shim.Status, error) {
	var st shim.Status
	err := state.ReadJSON(s.Path(id, shim.StatusFile), &st)
	if errors.Is(err, fs.ErrNotExist) {
		if !s.Exists(id) {
			return st, NoContainer(id)
		}
		return shim.Status{Phase: shim.Created}, nil
	}
	return st, err
}

// Active reports whether a container has a shim that looks after it.
func Active(st shim.Status) bool {
	return st.Phase == shim.Running || st.Phase == shim.Restarting || st.Phase == shim.Paused
}

// Lock takes the lock of a container. It must be held to start, remove or
// rename it.
func (s *Set) Lock(id string) (*state.Tx, error) {
	tx, err := state.Lock(s.Path(id, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, NoContainer(id)
	}
	return tx, err
}

// Busy reports whether somebody holds the lock of a container: it is being
// started, removed, renamed or changed.
func (s *Set) Busy(id string) bool {
	tx, err := state.TryLock(s.Path(id, lockFile))
	tx.Unlock()
	return errors.Is(err, state.ErrLocked)
}

// Entry is a container with its state, as listings sort and filter it.
type Entry struct {
	*Record
	Status shim.Status
}

// Entries reads all containers, the newest first. One that vanishes while we
// read is left out; one that was run with --rm and whose shim was killed is as
// good as gone, and among those that are left to be removed.
func (s *Set) Entries() (out []Entry, left []string, err error) {
	ids, err := s.IDs()
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		r, st, err := s.Load(id)
		if errors.Is(err, errdef.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if r.HostConfig.AutoRemove && st.Phase == shim.Exited {
			left = append(left, id)
			continue
		}
		out = append(out, Entry{r, st})
	}
	slices.SortFunc(out, func(a, b Entry) int { return b.Created.Compare(a.Created) })
	return out, left, nil
}
