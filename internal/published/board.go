package published

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/internal/state"
)

// prefix begins the names of accounts' folders.
const prefix = "berth-published-"

// Board is where the accounts of a machine publish.
type Board struct{ places []string }

// Open returns the machine's board. It touches nothing.
func Open() *Board { return &Board{places: []string{"/run/berth/published", "/tmp"}} }

// Posting is an entry that this process has put up.
type Posting struct {
	dir *os.File // held open and locked: systemd-tmpfiles leaves locked folders alone
	id  string
}

// Put shows an entry to all, in the place of an earlier one of that container,
// until the posting is taken down.
func (b *Board) Put(e Entry) (*Posting, error) {
	dir, err := b.own()
	if err != nil {
		return nil, err
	}
	unix.Flock(int(dir.Fd()), unix.LOCK_SH|unix.LOCK_NB) // where it is held there is no cleaner
	if err := write(dir, &e); err != nil {
		dir.Close()
		return nil, err
	}
	return &Posting{dir: dir, id: e.ID}, nil
}

// Rename changes the name under which this account shows a container, if it
// does.
func (b *Board) Rename(id, name string) error {
	for _, place := range b.places {
		for _, folder := range names(place) {
			dir, uid, err := openFolder(place, folder)
			if err != nil {
				continue
			}
			if e, ok := read(dir, id, uid); ok && uid == os.Geteuid() {
				e.Name = name
				err = write(dir, &e)
			}
			dir.Close()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Close takes an entry down.
func (p *Posting) Close() {
	if p == nil {
		return
	}
	unix.Unlinkat(int(p.dir.Fd()), p.id, 0)
	p.dir.Close()
}

// own returns this account's folder, and makes it when there is none. Somebody
// may have taken the name to keep us from it, so there are several.
func (b *Board) own() (*os.File, error) {
	var last error
	for i, place := range b.places {
		if i == 0 && os.Geteuid() == 0 {
			makePlace(place)
		}
		if err := isPlace(place); err != nil {
			last = err
			continue
		}
		dir, err := ownIn(place)
		if err == nil {
			return dir, nil
		}
		last = err
	}
	return nil, fmt.Errorf("cannot publish containers for ps --all-users: %w", last)
}

// ownIn returns this account's folder in a place: under its plain name, else one
// that was made when that was taken, else a new one with a number that nobody
// can have guessed.
func ownIn(place string) (*os.File, error) {
	name := prefix + strconv.Itoa(os.Geteuid())
	if err := os.Mkdir(filepath.Join(place, name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if dir := openOwn(place, name); dir != nil {
		return dir, nil
	}
	for _, n := range names(place) {
		if strings.HasPrefix(n, name+".") {
			if dir := openOwn(place, n); dir != nil {
				return dir, nil
			}
		}
	}
	path, err := os.MkdirTemp(place, name+".*")
	if err != nil {
		return nil, err
	}
	if dir := openOwn(place, filepath.Base(path)); dir != nil {
		return dir, nil
	}
	return nil, fmt.Errorf("cannot open %s", path)
}

// openOwn opens a folder if it is this account's.
func openOwn(place, name string) *os.File {
	dir, uid, err := openFolder(place, name)
	if err != nil {
		return nil
	}
	if uid != os.Geteuid() {
		dir.Close()
		return nil
	}
	dir.Chmod(0o755) // whatever the umask is
	return dir
}

// makePlace makes the place for all that only root can make.
func makePlace(place string) {
	parent := filepath.Dir(place)
	if os.Mkdir(parent, 0o755) != nil { // made closed for berth oci, whose own folder below stays so
		os.Chmod(parent, 0o755)
	}
	if _, err := os.Lstat(place); err == nil {
		return
	}
	// It appears with its mode or not at all, and what somebody who was killed
	// has begun is gone on with.
	begun := place + ".new"
	os.Mkdir(begun, 0o755)
	os.Chmod(begun, 0o777|fs.ModeSticky)
	if unix.Renameat2(unix.AT_FDCWD, begun, unix.AT_FDCWD, place, unix.RENAME_NOREPLACE) != nil {
		os.Remove(begun) // another one was faster
	}
}

// isPlace checks that all may make folders there and none may remove another's.
func isPlace(place string) error {
	info, err := os.Lstat(place)
	if err != nil {
		return err
	}
	uid, ok := ownerOf(info)
	if !ok || uid != 0 || !info.IsDir() || info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("%s is not a folder of root's with the sticky bit", place)
	}
	return nil
}

// names lists the folders of accounts in a place. The bound is each owner's: one
// with folders without number hides nobody else's.
func names(place string) []string {
	if isPlace(place) != nil {
		return nil
	}
	f, err := os.Open(place)
	if err != nil {
		return nil
	}
	defer f.Close()
	all, _ := f.Readdirnames(-1)
	var out []string
	have := map[int]int{}
	for _, n := range all {
		if !strings.HasPrefix(n, prefix) {
			continue
		}
		fd, err := at(int(f.Fd()), n, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && have[int(st.Uid)] < maxFolders {
			have[int(st.Uid)]++
			out = append(out, n)
		}
		unix.Close(fd)
	}
	return out
}

// at opens what lies in a folder itself, without asking another file system: an
// account may mount one of its own on what it has there, and that one need not
// answer (fuse(4)).
func at(dir int, name string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH}
	for {
		// EAGAIN: something was renamed meanwhile; openat2(2) has it tried again.
		if fd, err := unix.Openat2(dir, name, &how); err != unix.EAGAIN && err != unix.EINTR {
			return fd, err
		}
	}
}

// openFolder opens an account's folder and tells whose it is.
func openFolder(place, name string) (*os.File, int, error) {
	above, err := os.Open(place)
	if err != nil {
		return nil, 0, err
	}
	defer above.Close()
	fd, err := at(int(above.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, 0, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, 0, err
	}
	return os.NewFile(uintptr(fd), name), int(st.Uid), nil
}

// List reads what all have published and what is true of it: whose process
// runs. What shims that were killed have left of this account's goes.
func (b *Board) List() []Listed {
	var out []Listed
	seen := map[string]bool{}
	for _, place := range b.places {
		for _, folder := range names(place) {
			dir, uid, err := openFolder(place, folder)
			if err != nil {
				continue
			}
			ids, _ := dir.Readdirnames(maxEntries)
			for _, id := range ids {
				e, ok := read(dir, id, uid)
				key := strconv.Itoa(uid) + " " + id
				switch {
				case !ok || seen[key]:
				case runs(e.Shim, uid):
					seen[key] = true
					out = append(out, Listed{Entry: e, UID: uid})
				case uid == os.Geteuid():
					unix.Unlinkat(int(dir.Fd()), id, 0)
				}
			}
			dir.Close()
		}
	}
	return out
}

// read reads an entry of an account's.
func read(dir *os.File, id string, uid int) (Entry, bool) {
	var e Entry
	fd, err := at(int(dir.Fd()), id, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return e, false
	}
	f := os.NewFile(uintptr(fd), id)
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return e, false
	}
	if owner, ok := ownerOf(info); !ok || owner != uid {
		return e, false
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil || len(b) > maxFile || json.Unmarshal(b, &e) != nil {
		return e, false
	}
	return e, e.ID == id && e.clean()
}

// write puts an entry into a folder, whole or not at all.
func write(dir *os.File, e *Entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	// Through the descriptor: the name of the folder could be another's by now.
	return state.WriteVolatile(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), e.ID), b, 0o644)
}

func ownerOf(info fs.FileInfo) (int, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}
