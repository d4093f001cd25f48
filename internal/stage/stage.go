// Package stage finds the programs that carry out stages of berth's work.
//
// Go pays for everything a program is linked from at every start. A shim needs
// a fraction of it, and only what talks to registries needs HTTP and TLS. So
// programs are built into the first, and unpacked into the data root when they
// are first needed, under names that hold their digests. A berth that was built
// without them, by a plain `go build`, runs itself: main dispatches by argv[0].
//
// The OCI command line is a program, too, but nobody of ours starts it: the
// prelude of the big one executes it (see package prelude). That works with one
// path, known when the program is linked, so only the superuser has it.
package stage

import (
	"os"
	"path/filepath"
	"strings"

	"berth/internal/state"
)

// Self is the running program.
const Self = "/proc/self/exe"

// Unzstd is the argument with which the program that talks to registries unpacks
// zstd from its standard input to its standard output.
const Unzstd = "unzstd"

// Shim returns the path of the program to start as a shim.
func Shim(dir *state.Dir) string { return find(dir, "berth-shim", shim, shimSum) }

// Remote returns the path of the program that talks to registries.
func Remote(dir *state.Dir) string { return find(dir, "berth-remote", remote, remoteSum) }

// Net returns the path of the program that makes networks.
func Net(dir *state.Dir) string { return find(dir, "berth-net", net, netSum) }

// KeepOci unpacks the program for the OCI command line to where the prelude of
// the next call looks for it.
func KeepOci(path string) {
	if oci == "" || path == "" || !strings.HasSuffix(path, "-"+strings.TrimSpace(ociSum)) {
		return
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Size() != int64(len(oci)) {
		// Without it we do the same ourselves, only later.
		_ = unpack(path, strings.TrimSuffix(filepath.Base(path), "-"+strings.TrimSpace(ociSum)), oci)
	}
}

// find unpacks a program if it is not there yet. A berth without it is the
// program itself.
func find(dir *state.Dir, name, program, sum string) string {
	if program == "" {
		return Self
	}
	path := dir.Path("bin", name+"-"+strings.TrimSpace(sum))
	fi, err := os.Stat(path)
	if err != nil || fi.Size() != int64(len(program)) {
		// If this fails, starting the program tells why.
		_ = unpack(path, name, program)
	}
	return path
}

// unpack writes the program, and removes those of other versions; processes
// that run keep theirs.
func unpack(path, name, program string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := state.WriteFile(path, []byte(program), 0o700); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(filepath.Dir(path), name+"-*"))
	for _, p := range old {
		if p != path {
			os.Remove(p)
		}
	}
	return err
}
