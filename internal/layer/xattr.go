package layer

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// xattr is an extended attribute of a file.
type xattr struct{ name, value string }

// xattrsOf returns the extended attributes of a file or folder that a layer
// may have, sorted by name.
func xattrsOf(e *entry) ([]xattr, error) {
	if !e.isRegular() && !e.isDir() {
		return nil, nil // the kernel gives users none
	}
	path := procPath(e.fd)
	n, err := unix.Listxattr(path, nil)
	if n == 0 || err != nil {
		return nil, nil // none, or a file system without
	}
	names := make([]byte, n+256)
	if n, err = unix.Listxattr(path, names); err != nil {
		return nil, err
	}
	var out []xattr
	var value []byte
	for name := range strings.SplitSeq(string(names[:n]), "\x00") {
		if !keepsXattr(name) {
			continue
		}
		if value == nil {
			value = make([]byte, maxXattr)
		}
		n, err := unix.Getxattr(path, name, value)
		if err == unix.ENODATA {
			continue // gone since
		}
		if err != nil {
			return nil, fmt.Errorf("extended attribute %s: %w", name, err)
		}
		out = append(out, xattr{name, string(value[:n])})
	}
	slices.SortFunc(out, func(a, b xattr) int { return strings.Compare(a.name, b.name) })
	return out, nil
}
