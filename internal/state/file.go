package state

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// WriteFile replaces the file at path with data: temporary name in the same
// folder, sync, rename. After a crash the file is the old or the new one.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return replace(path, data, perm, true)
}

// WriteVolatile is [WriteFile] without the sync, for records that mean nothing
// after the machine went down (a running container's state).
func WriteVolatile(path string, data []byte, perm fs.FileMode) error {
	return replace(path, data, perm, false)
}

func replace(path string, data []byte, perm fs.FileMode, sync bool) (err error) {
	f, err := createTemp(filepath.Dir(path), filepath.Base(path))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(perm)
	}
	if err == nil && sync {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

// createTemp makes a temporary file beside the one it is to become. Its name
// says which process made it, for [Dir.Sweep].
func createTemp(dir, base string) (*os.File, error) {
	return os.CreateTemp(dir, "."+base+tempMark+strconv.Itoa(os.Getpid())+".*")
}

const tempMark = ".tmp-"

// sweepFiles removes the temporary files in dir whose makers are gone, and that
// are older than age.
func sweepFiles(dir string, age time.Duration) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		isTemp, alive := TempFile(e.Name())
		if !isTemp || alive {
			continue
		}
		if fi, err := e.Info(); err == nil && time.Since(fi.ModTime()) >= age {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// TempFile reports whether a file with that name is one that [WriteFile] has
// not renamed yet, and whether the process that writes it may be alive.
func TempFile(name string) (isTemp, alive bool) {
	i := strings.LastIndex(name, tempMark)
	if i <= 0 || name[0] != '.' {
		return false, false
	}
	pid, _, _ := strings.Cut(name[i+len(tempMark):], ".")
	n, err := strconv.Atoi(pid)
	if err != nil {
		return false, false
	}
	_, err = OwnerOf(n)
	return true, err == nil
}

// WriteJSON stores v as an indented JSON record with [WriteFile].
func WriteJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(path, append(b, '\n'), 0o600)
}

// WriteVolatileJSON is [WriteJSON] without the sync.
func WriteVolatileJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return WriteVolatile(path, append(b, '\n'), 0o600)
}

// ReadJSON reads the JSON record at path into v. A missing file is reported as
// [fs.ErrNotExist].
func ReadJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("record %s is damaged: %w", path, err)
	}
	return nil
}
