package disk

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/state"
)

// Options says for whom a data root is opened.
type Options struct {
	// User: the account is not root of the machine.
	User bool
	// Local is where the part of this machine is to be kept if it cannot stay
	// in the root: $BERTH_LOCAL, else local-root of the configuration. Empty
	// looks for a place.
	Local string
	// Getenv is [os.Getenv] but in tests.
	Getenv func(string) string
}

// Open opens a data root and makes it when it is missing, in two parts if it has
// to be. The text is a line for people, when something was decided just now.
func Open(root string, opt Options) (dir *state.Dir, text string, err error) {
	var st unix.Statfs_t
	if unix.Statfs(filepath.Join(root, "version"), &st) == nil {
		dir, err = state.Open(root)
		switch {
		case err != nil && !errors.Is(err, state.ErrUnplaced):
			return nil, "", err
		case err == nil && dir.IsSplit() && moves(dir, opt):
			if !empty(dir.Path("containers")) {
				return dir, fmt.Sprintf("there are containers in %s: as long as they are there, others are not kept in %s", dir.Local(), opt.Local), nil
			}
		case err == nil && (dir.IsSplit() || !kindOf(uint32(st.Type)).Shared):
			return dir, "", nil
		}
		return settle(root, opt, errors.Is(err, state.ErrUnplaced) || dir.IsSplit())
	}
	if !filepath.IsAbs(root) {
		dir, err = state.Open(root) // says it
		return dir, "", err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, "", fmt.Errorf("cannot make data root: %w", err)
	}
	if !KindOf(root).Shared && Try(root, opt.User).Overlay() {
		dir, err = state.Open(root)
		return dir, "", err
	}
	return settle(root, opt, false)
}

// moves reports whether somebody has named another place since.
func moves(dir *state.Dir, opt Options) bool {
	below, err := filepath.Rel(opt.Local, dir.Local())
	return opt.Local != "" && (err != nil || !filepath.IsLocal(below))
}

func empty(folder string) bool {
	entries, err := os.ReadDir(folder)
	return err == nil && len(entries) == 0
}

// settle looks for the place of this machine's part. One that is split already
// stays so.
func settle(root string, opt Options, split bool) (*state.Dir, string, error) {
	kind, can := KindOf(root), Try(root, opt.User)
	c, err := choose(root, opt, kind, can, split)
	if err != nil {
		return nil, "", err
	}
	if c.path == "" { // it can stay, but for overlay
		dir, err := state.Open(root)
		return dir, fmt.Sprintf("the data root %s lies on %s: %v. So containers are copies of their images; name a folder on another disk with BERTH_LOCAL or local-root", root, kind.Name, can.Marks), err
	}
	all := can.Files != nil || can.Marks != nil && c.can.Overlay()
	dir, err := state.Split(root, c.path, all && !c.inside)
	if err != nil {
		return nil, "", err
	}
	return dir, explain(root, kind, can, c, all) + leftBehind(root), nil
}

// choice is a folder for the part of this machine.
type choice struct {
	path   string // empty: the root itself
	can    Ability
	inside bool // below the root, for want of another place
}

// choose takes the first candidate where overlay works, then one where it does
// not, and in the end a folder of the root that is this machine's alone.
func choose(root string, opt Options, kind Kind, can Ability, split bool) (choice, error) {
	if opt.Local != "" {
		return asked(root, opt)
	}
	var second *choice
	for _, base := range candidates(opt) {
		if k := KindOf(base); k.Shared || k.Memory {
			continue
		}
		c, err := take(base, root, opt.User)
		if err != nil || c.can.Files != nil {
			continue
		}
		if c.can.Overlay() {
			return c, nil
		}
		if second == nil {
			second = &c
		}
	}
	switch {
	case !kind.Shared && can.Files == nil && !split:
		return choice{}, nil
	case second != nil:
		return *second, nil
	case can.Files != nil:
		return choice{}, fmt.Errorf("cannot keep data in %s, on %s: %w; name another data root with --root, or a folder on a disk of this machine with BERTH_LOCAL", root, kind.Name, can.Files)
	}
	return choice{path: filepath.Join(root, "nodes", state.Host(), "local"), can: can, inside: true}, nil
}

// asked is the place that somebody has named. Other machines that see it keep
// away from each other by their names.
func asked(root string, opt Options) (choice, error) {
	if !filepath.IsAbs(opt.Local) {
		return choice{}, fmt.Errorf("BERTH_LOCAL is %q, but must be an absolute path", opt.Local)
	}
	base := opt.Local
	if KindOf(base).Shared {
		base = filepath.Join(base, state.Host())
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		return choice{}, fmt.Errorf("cannot keep what belongs to this machine in %s: %w", opt.Local, err)
	}
	c, err := take(base, root, opt.User)
	if err == nil {
		err = c.can.Files
	}
	if err != nil {
		return choice{}, fmt.Errorf("cannot keep what belongs to this machine in %s: %w", opt.Local, err)
	}
	return c, nil
}

// take makes a folder for the root in base and tries what can be done there.
// Base may be open to everybody, as /tmp is.
func take(base, root string, user bool) (choice, error) {
	if err := safeBase(base); err != nil {
		return choice{}, err
	}
	own := filepath.Join(base, "berth-"+strconv.Itoa(os.Geteuid()))
	path := filepath.Join(own, nameOf(root))
	for _, dir := range []string{own, path} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return choice{}, err
		}
		var st unix.Stat_t
		if err := unix.Lstat(dir, &st); err != nil {
			return choice{}, err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
			return choice{}, fmt.Errorf("%s is not a folder that belongs to this account alone", dir)
		}
	}
	return choice{path: path, can: Try(path, user)}, nil
}

// safeBase refuses a folder in which somebody else could exchange ours.
func safeBase(base string) error {
	var st unix.Stat_t
	if err := unix.Stat(base, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: base, Err: err}
	}
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another account", base)
	}
	if st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0 {
		return fmt.Errorf("%s is open to others, who could exchange what we keep there", base)
	}
	return nil
}

// nameOf is a name for a data root among others.
func nameOf(root string) string {
	h := fnv.New64a()
	h.Write([]byte(filepath.Clean(root)))
	return strconv.FormatUint(h.Sum64(), 16)
}

// candidates are the folders where a part may be kept, the best first. What a
// batch system has made for one job goes with the job, and takes no containers.
func candidates(opt Options) []string {
	var out []string
	if user := opt.Getenv("USER"); opt.User && user != "" && filepath.Base(user) == user {
		for _, dir := range []string{"/scratch", "/local/scratch", "/scratch/local", "/localscratch", "/local"} {
			if own(filepath.Join(dir, user)) {
				out = append(out, filepath.Join(dir, user))
			}
		}
	}
	inJob := false
	for _, key := range []string{"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"} {
		inJob = inJob || opt.Getenv(key) != ""
	}
	if dir := opt.Getenv("TMPDIR"); filepath.IsAbs(dir) && !inJob {
		out = append(out, dir)
	}
	return append(out, "/var/tmp", "/tmp")
}

// own reports whether a folder is there and the account's own.
func own(dir string) bool {
	var st unix.Stat_t
	return unix.Lstat(dir, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) == os.Geteuid()
}

// explain says where things are kept, and why.
func explain(root string, kind Kind, can Ability, c choice, all bool) string {
	why := fmt.Sprintf("the data root %s lies on %s", root, kind.Name)
	if kind.Shared {
		why += ", which other machines may share"
	} else if can.why() != nil {
		why += ": " + can.why().Error()
	}
	switch {
	case c.inside:
		return why + ", and no disk of this machine's own was found: its containers are kept in " + c.path + ", where overlay hardly works; name another folder with BERTH_LOCAL or local-root"
	case all:
		if kind.Shared {
			why += fmt.Sprintf(" (%v)", can.why())
		}
		return why + ": containers, images and volumes of this machine are kept in " + c.path + cleared(c.path)
	}
	return why + ": containers of this machine are kept in " + c.path + cleared(c.path)
}

// cleared warns of folders from which many machines remove what is old.
func cleared(path string) string {
	for _, dir := range []string{"/var/tmp", "/tmp"} {
		if strings.HasPrefix(path, dir+"/berth-") {
			return ", where old files may be removed; BERTH_LOCAL or local-root names another folder"
		}
	}
	return ""
}

// leftBehind names containers that were made in the root before it was split.
func leftBehind(root string) string {
	entries, err := os.ReadDir(filepath.Join(root, "containers"))
	if err != nil || len(entries) == 0 {
		return ""
	}
	return fmt.Sprintf("; %d older ones in %s are not listed any more", len(entries), filepath.Join(root, "containers"))
}
