package sys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// RemoveAll removes a tree like [os.RemoveAll], and also one whose folders
// deny their owner access, as image layers and overlay work folders do (mode
// 0555 or 0000). It never follows a symbolic link.
func RemoveAll(path string) error {
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := openUp(path); err != nil {
		return err
	}
	return os.RemoveAll(path)
}

// openUp gives the owner access to every folder below path.
func openUp(path string) error {
	return filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if d == nil || !d.IsDir() {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		// WalkDir calls once before reading a folder (err nil) and again
		// when reading it was refused, which the first call prevents.
		if err != nil {
			return err
		}
		return os.Chmod(p, 0o700)
	})
}

// TreeSize adds up the sizes of the plain files below dir, as far as they can
// be seen.
func TreeSize(dir string) int64 {
	var n int64
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if fi, err := d.Info(); err == nil {
				n += fi.Size()
			}
		}
		return nil
	})
	return n
}
