package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestUpToDate: the tables are those of the modules this program is built with.
func TestUpToDate(t *testing.T) {
	dir, err := moduleDir("golang.org/x/sys")
	if err != nil {
		t.Fatal(err)
	}
	table, err := readCalls(filepath.Join(dir, "unix"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]func() ([]byte, error){
		"calls_table.go":   func() ([]byte, error) { return callsFile(table) },
		"default_table.go": func() ([]byte, error) { return profileFile(table) },
		"default_amd64.go": func() ([]byte, error) { return program("amd64") },
		"default_arm64.go": func() ([]byte, error) { return program("arm64") },
	}
	for name, make := range files {
		want, err := make()
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is out of date: run go generate in internal/seccomp", name)
		}
	}
}

// TestReadCalls refuses a source that does not look like the one it knows.
func TestReadCalls(t *testing.T) {
	if _, err := readCalls(t.TempDir()); err == nil {
		t.Error("no error without files")
	}
	dir := t.TempDir()
	for _, a := range []string{"amd64", "386", "arm64", "arm"} {
		if err := os.WriteFile(filepath.Join(dir, "zsysnum_linux_"+a+".go"), []byte("SYS_READ = 0\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := readCalls(dir); err == nil {
		t.Error("no error for a single call")
	}
}
