package foreign

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Named is a runtime that the configuration gives a name.
type Named struct {
	Path string
	Args []string
}

// Ordinary reports whether a value of --runtime means the ordinary runtime,
// which is our own: "runc" is what Docker's is called, so scripts that want
// nothing special write it. The program of that name is to be had by its path.
func Ordinary(name string) bool {
	switch name {
	case "", "berth", "runc", "io.containerd.runc.v2":
		return true
	}
	return false
}

// Find returns the program that a value of --runtime names: a path, a name
// that the configuration knows, or a program in PATH.
func Find(name string, named map[string]Named) (path string, args []string, err error) {
	n, known := named[name]
	if !known {
		n.Path = name
	}
	if strings.Contains(n.Path, "/") {
		path, err = filepath.Abs(n.Path)
	} else {
		path, err = exec.LookPath(n.Path)
	}
	if err == nil {
		var fi os.FileInfo
		if fi, err = os.Stat(path); err == nil && (fi.IsDir() || fi.Mode()&0o111 == 0) {
			err = os.ErrPermission
		}
	}
	if err != nil {
		return "", nil, fmt.Errorf("unknown or invalid runtime name: %s (neither a program that can be run nor a name below \"runtimes\" in berth's configuration)", name)
	}
	return path, n.Args, nil
}

// Environment is what a runtime gets to see: where programs are, and where an
// account keeps what goes with a reboot.
func Environment(lookup func(string) (string, bool)) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, k := range []string{"HOME", "XDG_RUNTIME_DIR", "TMPDIR"} {
		if v, ok := lookup(k); ok {
			env = append(env, k+"="+v)
		}
	}
	return env
}
