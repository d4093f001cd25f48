package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// swap exchanges paths with links, as fast as it can and until it is killed.
// Each argument is "path=target": path is made a folder with something in it if
// it is not there, and changes places with a link to target. One thread works on
// each, so that no two change in step.
func swap(pairs []string) {
	var at [][2]string
	for _, p := range pairs {
		path, target, ok := cut(p)
		if !ok {
			fmt.Fprintln(os.Stderr, "agent swap: not path=target: "+p)
			os.Exit(2)
		}
		os.MkdirAll(path, 0o777)
		os.WriteFile(filepath.Join(path, "inside"), []byte("inside\n"), 0o666)
		evil := filepath.Join(filepath.Dir(path), ".evil-"+filepath.Base(path))
		os.Remove(evil)
		if err := os.Symlink(target, evil); err != nil {
			fmt.Fprintln(os.Stderr, "agent swap:", err)
			os.Exit(1)
		}
		at = append(at, [2]string{path, evil})
	}
	fmt.Println("swapping")
	for _, p := range at {
		go func() {
			runtime.LockOSThread()
			for {
				// Twice, so that a folder is what it is most of the time:
				// else too few operations would come far enough.
				unix.Renameat2(unix.AT_FDCWD, p[0], unix.AT_FDCWD, p[1], unix.RENAME_EXCHANGE)
				unix.Renameat2(unix.AT_FDCWD, p[0], unix.AT_FDCWD, p[1], unix.RENAME_EXCHANGE)
				runtime.Gosched()
			}
		}()
	}
	select {}
}

// cut splits at the first "=".
func cut(s string) (path, target string, ok bool) {
	for i := range s {
		if s[i] == '=' {
			return s[:i], s[i+1:], true
		}
	}
	return "", "", false
}
