package cli

import (
	"errors"
	"io/fs"
	"os/exec"
	"syscall"

	"berth/internal/inside"
	"berth/internal/state"
)

// removeWord is the command of the process that removes what a command before
// it has moved out of sight. It is for ourselves.
const removeWord = "__remove"

// later starts a process that removes the folder name in tmp/ of the data root,
// and does not wait for it. It belongs to no terminal and holds no stream, so
// nobody waits for it by accident either.
func (a *app) later(root, name string) error {
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{a.name, "--root", root, removeWord, name},
		Dir: "/", SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// removeCommand is what later starts.
func (a *app) removeCommand(name string) error {
	// Whoever does something now comes first. Without it works as well.
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, 10)
	dir, err := state.Open(a.set.root)
	if err != nil {
		return err
	}
	inside.Serve(dir)
	trash, err := dir.Adopt(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody else was faster
	}
	if err != nil {
		return err
	}
	return trash.Close()
}
