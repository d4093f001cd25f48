package roster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"berth/internal/errdef"
	"berth/internal/state"
)

// Name returns the whole name of a container that is to be called by a name, or
// says why it cannot be. Nothing stays nothing.
func (s *Set) Name(asked string) (string, error) {
	if asked == "" {
		return "", nil
	}
	name := strings.TrimPrefix(asked, "/")
	if err := checkName(name); err != nil {
		return "", err
	}
	name, err := s.naming(name)
	if err != nil {
		return "", &errdef.Error{Kind: errdef.ErrInvalid, Text: err.Error()}
	}
	return name, checkName(name)
}

// maxName is how long a name may be, in bytes: it is that of a file, and others
// made from it have room beside it (NAME_MAX is 255).
const maxName = 200

// checkName applies Docker's rule.
func checkName(name string) error {
	ok := len(name) >= 2
	for i, c := range name {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("_.-", c)) {
			ok = false
		}
	}
	if len(name) > maxName {
		return &errdef.Error{Kind: errdef.ErrInvalid, Text: fmt.Sprintf("Invalid container name (%.20s…): it has %d bytes, and at most %d are allowed", name, len(name), maxName)}
	}
	if !ok {
		return &errdef.Error{Kind: errdef.ErrInvalid, Text: fmt.Sprintf("Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)}
	}
	return nil
}

// Claim takes the asked name, or makes one up.
func (s *Set) Claim(r *Record, name string) error {
	names := s.Names()
	if name != "" {
		r.Name = name
		err := names.Claim(name, r.ID)
		var used *state.NameInUseError
		if errors.As(err, &used) {
			s.SweepNames() // a killed rename may hold it
			err = names.Claim(name, r.ID)
		}
		if errors.As(err, &used) {
			return &errdef.Error{Kind: errdef.ErrConflict, Text: fmt.Sprintf("Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, used.ID)}
		}
		return err
	}
	for i := range 100 {
		var err error
		if r.Name, err = s.Name(madeUpName(i > 10)); err != nil {
			return err
		}
		err = names.Claim(r.Name, r.ID)
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

// SweepNames removes names whose container is gone.
func (s *Set) SweepNames() {
	entries, err := os.ReadDir(s.dir.Path("names"))
	if err != nil {
		return
	}
	names := s.Names()
	for _, d := range entries {
		if !strings.HasPrefix(d.Name(), ".") {
			names.Clear(d.Name())
			s.sweepAlias(names, d.Name())
		}
	}
}

// sweepAlias removes a name that a killed rename has claimed or not released:
// the record says which name counts.
func (s *Set) sweepAlias(names *state.Names, name string) {
	id, err := names.Lookup(name)
	if err != nil || names.Claimed(name) {
		return
	}
	tx, err := state.TryLock(s.Path(id, lockFile))
	if err != nil {
		return // it is being renamed
	}
	defer tx.Unlock()
	if r, _, err := s.Load(id); err == nil && r.Name != name {
		names.Release(name, id)
	}
}
