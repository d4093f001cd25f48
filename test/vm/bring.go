package vm

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"berth/test/lab"
)

// bench is what the second disk of a machine holds, mounted read-only at
// /bench: the lab (its registries stay on the host), berth in bin, docs, and
// for each package of tests its folder with the compiled tests.
const bench = "/bench"

// pack makes that disk. packages are folders below the repository's root.
func pack(t lab.T, l *lab.Lab, dir string, packages ...string) string {
	t.Helper()
	repo := lab.Repo(t)
	tree, disk := filepath.Join(dir, "bench"), filepath.Join(dir, "bench.disk")
	try := func(name string, args ...string) {
		t.Helper()
		if err := do(repo, name, args...); err != nil {
			t.Fatal(err)
		}
	}
	try("mkdir", "-p", filepath.Join(tree, "test"))
	try("cp", "-a", l.Bin(), filepath.Join(repo, "docs"), tree)
	for _, p := range packages {
		to := folder(tree, p)
		try("mkdir", "-p", to)
		try("go", "test", "-c", "-o", filepath.Join(to, "tests"), "./"+p)
		if _, err := os.Stat(filepath.Join(repo, p, "testdata")); err == nil {
			try("cp", "-a", filepath.Join(repo, p, "testdata"), to)
		}
	}
	there := *l
	there.Dir = bench
	b, err := json.Marshal(there)
	if err == nil {
		err = os.WriteFile(filepath.Join(tree, "lab.json"), b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	try("chmod", "-R", "a+rX", tree)
	try("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-d", tree, disk, "400M")
	return disk
}

// folder is where the tests of a package are: as deep as in the repository, for
// the sake of their relative paths.
func folder(tree, p string) string {
	return filepath.Join(tree, "test", strings.ReplaceAll(strings.TrimPrefix(p, "test/"), "/", "-"))
}
