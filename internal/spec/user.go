package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
)

// maxAccountFile bounds /etc/passwd and /etc/group, which an image may have
// written to waste memory.
const maxAccountFile = 4 << 20

var (
	errIDRange  = errors.New("uids and gids must be in range 0-2147483647")
	errNoPasswd = errors.New("no matching entries in passwd file")
	errNoGroup  = errors.New("no matching entries in group file")
)

// identity is who a process runs as.
type identity struct {
	uid, gid uint32
	groups   []uint32 // supplementary, from /etc/group
	home     string   // from /etc/passwd; empty when it has no entry
}

// accounts reads the account files of a container when somebody asks.
type accounts struct {
	files         Users
	passwd, group *accountFile
}

// accountFile is a file that was read, or the reason why not.
type accountFile struct {
	text string
	err  error
}

func (a *accounts) read(path string, memo **accountFile) (string, error) {
	if *memo == nil {
		f := &accountFile{err: fs.ErrNotExist}
		if a.files != nil {
			var b []byte
			b, f.err = a.files.ReadFile(path, maxAccountFile)
			f.text = string(b)
		}
		*memo = f
	}
	return (*memo).text, (*memo).err
}

func (a *accounts) passwdLines() (string, error) { return a.read("/etc/passwd", &a.passwd) }
func (a *accounts) groupLines() (string, error)  { return a.read("/etc/group", &a.group) }

// lookup finds who "user[:group]" is. Each half is a number or a name; a
// number is never looked up as a name, so that an image cannot give "1000" the
// id of root. Nothing means root. Without an explicit group the user's own
// group applies, and the groups of /etc/group that list it when member is set.
func (a *accounts) lookup(spec string, member bool) (identity, error) {
	userArg, rest, _ := strings.Cut(spec, ":")
	groupArg, _, _ := strings.Cut(rest, ":")
	id, name, err := a.user(userArg)
	if err != nil {
		return id, err
	}
	if groupArg != "" {
		gid, err := a.groupID(groupArg)
		if err != nil {
			return id, err
		}
		id.gid = gid
		return id, nil
	}
	if name != "" && member {
		id.groups = a.memberships(name)
	}
	return id, nil
}

// user finds one user and tells its name, if it has one.
func (a *accounts) user(arg string) (id identity, name string, err error) {
	want, numeric, err := parseID(arg)
	if err != nil {
		return id, "", err
	}
	if arg == "" {
		numeric = true // root
	}
	text, readErr := a.passwdLines()
	for line := range strings.Lines(text) {
		f, ok := fields(line, 7)
		if !ok {
			continue
		}
		uid, uidOK := entryID(f[2])
		gid, gidOK := entryID(f[3])
		if !uidOK || !gidOK {
			continue // a damaged line is nobody's entry, least of all root's
		}
		if numeric && uid == want || !numeric && f[0] == arg {
			return identity{uid: uid, gid: gid, home: f[5]}, f[0], nil
		}
	}
	if numeric {
		return identity{uid: want}, "", nil
	}
	if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
		return id, "", fmt.Errorf("unable to find user %s: %w", arg, readErr)
	}
	return id, "", fmt.Errorf("unable to find user %s: %w", arg, errNoPasswd)
}

// groupID finds one group.
func (a *accounts) groupID(arg string) (uint32, error) {
	gid, numeric, err := parseID(arg)
	if err != nil || numeric {
		return gid, err
	}
	text, readErr := a.groupLines()
	for line := range strings.Lines(text) {
		if f, ok := fields(line, 4); ok && f[0] == arg {
			if gid, ok := entryID(f[2]); ok {
				return gid, nil
			}
		}
	}
	if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
		return 0, fmt.Errorf("unable to find group %s: %w", arg, readErr)
	}
	return 0, fmt.Errorf("unable to find group %s: %w", arg, errNoGroup)
}

// memberships returns the groups that list a user. A file that cannot be read
// lists nobody.
func (a *accounts) memberships(user string) []uint32 {
	text, _ := a.groupLines()
	var gids []uint32
	for line := range strings.Lines(text) {
		f, ok := fields(line, 4)
		if !ok {
			continue
		}
		gid, ok := entryID(f[2])
		if !ok {
			continue
		}
		for m := range strings.SplitSeq(f[3], ",") {
			if m == user {
				gids = append(gids, gid)
				break
			}
		}
	}
	return gids
}

// fields splits a line of an account file into exactly n fields, missing ones
// empty. Empty lines and comments have none.
func fields(line string, n int) ([]string, bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return nil, false
	}
	f := strings.SplitN(line, ":", n)
	for len(f) < n {
		f = append(f, "")
	}
	return f, f[0] != ""
}

// entryID reads an id in an account file.
func entryID(s string) (uint32, bool) {
	id, numeric, err := parseID(s)
	return id, numeric && err == nil
}

// parseID reads an id, or tells that the text is a name. All digits are a
// number even where it is too large: an id that wraps round to 0 would be
// root, and so might a name that looks like it.
func parseID(s string) (id uint32, numeric bool, err error) {
	if s == "" {
		return 0, false, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if errors.Is(err, strconv.ErrSyntax) {
		return 0, false, nil
	}
	if err != nil || n < 0 || n > math.MaxInt32 {
		return 0, true, errIDRange
	}
	return uint32(n), true, nil
}
