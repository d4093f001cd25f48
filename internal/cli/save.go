package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"berth/internal/cli/term"
)

// saveCommand is save.
func (a *app) saveCommand() *cobra.Command {
	c := &cobra.Command{Use: "save [OPTIONS] IMAGE [IMAGE...]", Args: atLeast(1)}
	f := c.Flags()
	output := f.StringP("output", "o", "", "Write to a file, instead of STDOUT")
	platform := f.String("platform", "", `Save only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")`)
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		return a.writeOut(c.Context(), *output, "save", func(ctx context.Context, w io.Writer) error {
			return e.Images().Save(ctx, args, *platform, w)
		})
	}
	return c
}

// writeOut has write fill a file, which appears whole or not at all, or
// standard output if no file is named.
func (a *app) writeOut(ctx context.Context, path, verb string, write func(context.Context, io.Writer) error) error {
	if path == "" && term.IsTerminal(a.env.Stdout) {
		return fmt.Errorf("cowardly refusing to %s to a terminal. Use the -o flag or redirect", verb)
	}
	ctx, g := a.watch(ctx)
	defer g.stop()
	var err error
	if path == "" {
		err = write(ctx, a.env.Stdout)
	} else {
		err = writeFile(path, func(w io.Writer) error { return write(ctx, w) })
	}
	if left := g.leave(); left != nil {
		return left
	}
	return err
}

// writeFile writes beside the file and renames. What is no plain file, such as
// a device or a named pipe, is written to as it is.
func writeFile(path string, write func(io.Writer) error) (err error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("failed to save image: %s is a folder", path)
	case err == nil && !info.Mode().IsRegular():
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return fmt.Errorf("failed to save image: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	// As private as the data root: an image may hold anything.
	if err = write(tmp); err == nil {
		err = tmp.Sync()
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
