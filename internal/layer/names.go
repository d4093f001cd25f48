package layer

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// maxDepth bounds how deep folders may nest. Real layers stay below
	// 100; work on a tree keeps a descriptor open for every level.
	maxDepth = 256
	// maxName is the length of a path the kernel takes in one call, so no
	// container could use a longer one.
	maxName = 4096

	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
	aufsPrefix     = ".wh..wh." // the other names aufs kept for itself
)

// Errors about names.
var (
	errEscape   = errors.New("its name leads out of the layer")
	errReserved = errors.New("its name is one that whiteouts reserve")
	errDepth    = fmt.Errorf("it lies more than %d folders deep", maxDepth)
)

// splitName takes the name of an entry apart: no empty parts, no ".", no "..".
// A leading slash means the top of the layer, as in Docker. The top itself has
// no parts.
func splitName(name string, parts []string) ([]string, error) {
	switch {
	case name == "":
		return nil, errors.New("it has no name")
	case len(name) >= maxName:
		return nil, fmt.Errorf("its name has %d bytes, more than the kernel takes", len(name))
	case strings.IndexByte(name, 0) >= 0:
		return nil, errors.New("its name holds a zero byte")
	}
	parts = parts[:0]
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
		case "..":
			if len(parts) == 0 {
				return nil, errEscape
			}
			parts = parts[:len(parts)-1]
		default:
			parts = append(parts, part)
		}
	}
	if len(parts) > maxDepth {
		return nil, errDepth
	}
	return parts, nil
}

// whiteout reads the last part of a name. It returns what is hidden by a
// whiteout, or that the folder is opaque, or that the entry is none of the
// layer's business.
func whiteout(base string) (hides string, opaque, skip bool, err error) {
	if base == opaqueName {
		return "", true, false, nil
	}
	if strings.HasPrefix(base, aufsPrefix) {
		return "", false, true, nil
	}
	hides, ok := strings.CutPrefix(base, whiteoutPrefix)
	if !ok {
		return "", false, false, nil
	}
	if hides == "" || hides == "." || hides == ".." {
		return "", false, false, errReserved
	}
	return hides, false, false, nil
}

// checkFolders refuses folders with names of whiteouts. Those that aufs kept
// for itself are left out.
func checkFolders(parts []string) (skip bool, err error) {
	for _, p := range parts {
		if strings.HasPrefix(p, aufsPrefix) {
			return true, nil
		}
		if strings.HasPrefix(p, whiteoutPrefix) {
			return false, errReserved
		}
	}
	return false, nil
}
