package seccomp

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"berth/internal/state"
)

// Cache keeps the programs of people's own profiles in a folder, under the
// digest of all that they were compiled from: reading and compiling one takes
// longer than the rest of an exec. A file holds the digest of what follows, and
// the program; one that a crash has damaged is made anew.
type Cache struct {
	Dir string
}

// cacheSize is how many programs are kept, of at most 32 KiB each.
const cacheSize = 64

// cacheVersion changes when the compiler's output does.
const cacheVersion = "1"

// Program returns the program of a profile in Docker's JSON format. What cannot
// be kept is still returned.
func (c Cache) Program(profile, goarch string, caps []string, kernel Kernel) ([]byte, error) {
	path := filepath.Join(c.Dir, cacheKey(profile, goarch, caps, kernel))
	if b, err := os.ReadFile(path); err == nil {
		if prog, ok := checked(b); ok {
			return prog, nil
		}
	}
	p, err := Parse([]byte(profile))
	if err != nil {
		return nil, err
	}
	prog, err := Compile(p, goarch, caps, kernel)
	if err != nil {
		return nil, err
	}
	c.keep(path, prog)
	return prog, nil
}

func cacheKey(profile, goarch string, caps []string, kernel Kernel) string {
	caps = slices.Sorted(slices.Values(caps))
	h := sha256.New()
	var n [8]byte
	for _, s := range []string{cacheVersion, goarch, strings.Join(caps, ","), profile} {
		binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	binary.LittleEndian.PutUint32(n[:4], uint32(kernel.Major))
	binary.LittleEndian.PutUint32(n[4:], uint32(kernel.Minor))
	h.Write(n[:])
	return hex.EncodeToString(h.Sum(nil))
}

// checked takes the digest off a file and compares it.
func checked(b []byte) ([]byte, bool) {
	if len(b) < sha256.Size {
		return nil, false
	}
	prog := b[sha256.Size:]
	return prog, sha256.Sum256(prog) == [sha256.Size]byte(b)
}

// keep writes a program and lets the oldest go when there are too many.
func (c Cache) keep(path string, prog []byte) {
	if os.MkdirAll(c.Dir, 0o700) != nil {
		return
	}
	sum := sha256.Sum256(prog)
	if state.WriteVolatile(path, append(sum[:], prog...), 0o600) != nil {
		return
	}
	entries, err := os.ReadDir(c.Dir)
	if err != nil || len(entries) <= cacheSize {
		return
	}
	age := func(e fs.DirEntry) int64 {
		fi, err := e.Info()
		if err != nil {
			return 0 // gone
		}
		return fi.ModTime().UnixNano()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return int(min(max(age(a)-age(b), -1), 1)) })
	for _, e := range entries[:len(entries)-cacheSize] {
		os.Remove(filepath.Join(c.Dir, e.Name()))
	}
}
