// Package stage finds the program that runs as a shim.
//
// A shim needs a fraction of what the command is linked from, and Go pays for
// everything linked at every start. So a second, small program is built into
// the first and unpacked into the data root when it is first needed, under a
// name that holds its digest. A berth that was built without it, by a plain
// `go build`, runs itself as the shim: main dispatches by argv[0].
package stage

import (
	"os"
	"path/filepath"
	"strings"

	"berth/internal/state"
)

// Self is the running program.
const Self = "/proc/self/exe"

// Shim returns the path of the program to start as a shim. Where the small one
// cannot be unpacked or run (a full disk, a file system mounted noexec) that is
// the running program itself.
func Shim(dir *state.Dir) string {
	if program == "" {
		return Self
	}
	path := dir.Path("bin", "berth-shim-"+strings.TrimSpace(sum))
	fi, err := os.Stat(path)
	if err == nil && fi.Size() == int64(len(program)) {
		return path
	}
	if unpack(path) != nil {
		return Self
	}
	return path
}

// unpack writes the program, and removes those of other versions; shims that
// run keep theirs.
func unpack(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := state.WriteFile(path, []byte(program), 0o700); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(filepath.Dir(path), "berth-shim-*"))
	if err != nil {
		return nil
	}
	for _, p := range old {
		if p != path {
			os.Remove(p)
		}
	}
	return nil
}
