package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// diskSize is room for the largest store; the file has holes.
const diskSize = 24 << 30

// disk makes an empty file system and mounts it. A store that was removed from
// a used one is not as if it had never been: ext4 without a journal, which some
// machines have, looks for minutes at every inode that was freed.
func (b *bench) disk() (eject func(), err error) {
	file, dir := filepath.Join(b.dir, "disk.img"), filepath.Join(b.dir, "disk")
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	err = f.Truncate(diskSize)
	f.Close()
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return nil, err
	}
	if err := command("mkfs.ext4", "-q", "-F", file); err != nil {
		return nil, err
	}
	loop, err := exec.Command("losetup", "--find", "--show", "--direct-io=on", file).Output()
	if err != nil {
		return nil, fmt.Errorf("losetup: %w", err)
	}
	device := strings.TrimSpace(string(loop))
	free := func() {
		exec.Command("losetup", "--detach", device).Run()
		os.Remove(file)
	}
	if err := command("mount", device, dir); err != nil {
		free()
		return nil, err
	}
	return func() {
		// Lazily: a daemon may take its time to end.
		exec.Command("umount", "--lazy", dir).Run()
		free()
	}, nil
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, lastLine(out))
	}
	return nil
}
