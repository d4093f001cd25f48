package seccomp

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"

	"berth/internal/state"
)

// Filter is what a container gets for what its request says: nothing for
// "unconfined", the default profile for "builtin" or "", else the profile whose
// text it is. Flags go with it to seccomp(2). Filters of other profiles than
// the default one are kept in the folder dir.
func Filter(dir, profile, goarch string, caps []string, kernel Kernel) (prog []byte, flags uint32, err error) {
	switch profile {
	case "unconfined":
		return nil, 0, nil
	case "builtin", "":
		prog, err = Default(goarch, caps, kernel)
		return prog, specAllow, err
	}
	key := fmt.Sprintf("%s\n%s\n%d.%d\n%s", goarch, strings.Join(caps, ","), kernel.Major, kernel.Minor, profile)
	return Cached(dir, key, func() ([]byte, uint32, error) {
		p, err := Parse([]byte(profile))
		if err != nil {
			return nil, 0, err
		}
		prog, err := Compile(p, goarch, caps, kernel)
		return prog, p.flags, err
	})
}

// In front of a kept filter stand a word that changes when the compiler does,
// a check sum of all that follows (a file that was not synced may come back
// from a crash with nothing in it), the flags, and a zero.
const (
	cacheMagic = 0xbe570001
	cacheHead  = 16
)

// Cached returns the filter that is kept in dir under key, or makes and keeps
// it. The folder is made when it is missing; when it cannot be used the filter
// is made each time.
func Cached(dir, key string, compile func() (prog []byte, flags uint32, err error)) ([]byte, uint32, error) {
	sum := sha256.Sum256([]byte(key))
	path := filepath.Join(dir, hex.EncodeToString(sum[:]))
	if prog, flags, ok := readCache(path); ok {
		return prog, flags, nil
	}
	prog, flags, err := compile()
	if err != nil || len(prog) == 0 {
		return prog, flags, err
	}
	out := make([]byte, cacheHead, cacheHead+len(prog))
	out = append(out, prog...)
	binary.NativeEndian.PutUint32(out[8:], flags)
	binary.NativeEndian.PutUint32(out, cacheMagic)
	binary.NativeEndian.PutUint32(out[4:], crc32.ChecksumIEEE(out[8:]))
	if os.MkdirAll(dir, 0o700) == nil {
		// Whether it can be kept changes nothing for this container.
		_ = state.WriteVolatile(path, out, 0o600)
	}
	return prog, flags, nil
}

func readCache(path string) (prog []byte, flags uint32, ok bool) {
	b, err := os.ReadFile(path)
	if err != nil || len(b) <= cacheHead || len(b)%8 != 0 || len(b) > cacheHead+8*maxInstructions {
		return nil, 0, false
	}
	word := func(i int) uint32 { return binary.NativeEndian.Uint32(b[i:]) }
	if word(0) != cacheMagic || word(4) != crc32.ChecksumIEEE(b[8:]) {
		return nil, 0, false
	}
	return b[cacheHead:], word(8), true
}
