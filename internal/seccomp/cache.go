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
	p, err := Parse([]byte(profile))
	if err != nil {
		return nil, 0, err
	}
	key := fmt.Sprintf("%s\n%s\n%d.%d\n%s", goarch, strings.Join(caps, ","), kernel.Major, kernel.Minor, profile)
	prog, err = Cached(dir, key, func() ([]byte, error) { return Compile(p, goarch, caps, kernel) })
	return prog, p.flags, err
}

// cacheHead stands in front of a kept filter: a word that changes when the
// compiler does, and a check sum, because a file that was not synced may come
// back from a crash with nothing in it.
const (
	cacheMagic = 0xbe570001
	cacheHead  = 8
)

// Cached returns the filter that is kept in dir under key, or makes and keeps
// it. The folder is made when it is missing; when it cannot be used the filter
// is made each time.
func Cached(dir, key string, compile func() ([]byte, error)) ([]byte, error) {
	sum := sha256.Sum256([]byte(key))
	path := filepath.Join(dir, hex.EncodeToString(sum[:]))
	if prog, ok := readCache(path); ok {
		return prog, nil
	}
	prog, err := compile()
	if err != nil || len(prog) == 0 {
		return prog, err
	}
	out := make([]byte, 0, cacheHead+len(prog))
	out = binary.NativeEndian.AppendUint32(out, cacheMagic)
	out = binary.NativeEndian.AppendUint32(out, crc32.ChecksumIEEE(prog))
	out = append(out, prog...)
	if os.MkdirAll(dir, 0o700) == nil {
		// Whether it can be kept changes nothing for this container.
		_ = state.WriteVolatile(path, out, 0o600)
	}
	return prog, nil
}

func readCache(path string) ([]byte, bool) {
	b, err := os.ReadFile(path)
	if err != nil || len(b) <= cacheHead || len(b)%8 != 0 || len(b) > cacheHead+8*maxInstructions {
		return nil, false
	}
	prog := b[cacheHead:]
	ok := binary.NativeEndian.Uint32(b) == cacheMagic && binary.NativeEndian.Uint32(b[4:]) == crc32.ChecksumIEEE(prog)
	return prog, ok
}
