package cli

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"berth/internal/engine"
)

// exportCommand is export.
func (a *app) exportCommand() *cobra.Command {
	c := &cobra.Command{Use: "export [OPTIONS] CONTAINER", Args: exactly(1)}
	output := c.Flags().StringP("output", "o", "", "Write to a file, instead of STDOUT")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := checkExport(*output); err != nil {
			return fmt.Errorf("failed to export container: %w", err)
		}
		e, err := a.open()
		if err != nil {
			return err
		}
		return a.export(c.Context(), e, args[0], *output)
	}
	return c
}

// checkExport refuses places that cannot become an archive.
func checkExport(path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return fmt.Errorf("invalid output path: %w", err)
	}
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return nil
	case fi.IsDir():
		return fmt.Errorf("invalid output path: %s is a directory", path)
	case fi.Mode()&fs.ModeCharDevice != 0:
		return fmt.Errorf("cannot write to a character device file")
	}
	return nil
}

func (a *app) export(ctx context.Context, e *engine.Engine, container, output string) error {
	return a.writeOut(ctx, output, "save", func(ctx context.Context, w io.Writer) error {
		return e.ContainerExport(ctx, container, w)
	})
}
