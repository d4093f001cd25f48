package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"berth/internal/cli/term"
	"berth/internal/engine"
)

// cpCommand is cp.
func (a *app) cpCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n        " + a.name + " cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH", Args: exactly(2),
		Long: "Copy files/folders between a container and the local filesystem\n\n" +
			"Use '-' as the source to read a tar archive from stdin\nand extract it to a directory destination in a container.\n" +
			"Use '-' as the destination to stream a tar archive of a\ncontainer source to stdout.",
	}
	f := c.Flags()
	archive := f.BoolP("archive", "a", false, "Archive mode (copy all uid/gid information)")
	follow := f.BoolP("follow-link", "L", false, "Always follow symbol link in SRC_PATH")
	quiet := f.BoolP("quiet", "q", false, "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached")
	c.RunE = func(c *cobra.Command, args []string) error {
		if !f.Changed("quiet") {
			*quiet = !term.IsTerminal(a.env.Stdout)
		}
		x := &copying{app: a, quiet: *quiet}
		x.opt = engine.CopyOptions{Follow: *follow, KeepOwners: *archive}
		return x.run(c.Context(), args[0], args[1])
	}
	return c
}

// copying is one cp.
type copying struct {
	*app
	quiet bool
	opt   engine.CopyOptions

	mu    sync.Mutex
	shown time.Time // when progress was last shown
	lines bool      // progress stands on the line
}

// splitPlace takes CONTAINER:PATH apart. What begins with a slash or a dot is a
// path here, whatever colons it has.
func splitPlace(arg string) (container, path string) {
	container, path, ok := strings.Cut(arg, ":")
	if !ok || filepath.IsAbs(arg) || strings.HasPrefix(container, ".") {
		return "", arg
	}
	return container, path
}

func (x *copying) run(ctx context.Context, src, dst string) error {
	switch "" {
	case src:
		return errors.New("source can not be empty")
	case dst:
		return errors.New("destination can not be empty")
	}
	from, src := splitPlace(src)
	to, dst := splitPlace(dst)
	switch {
	case from != "" && to != "":
		return errors.New("copying between containers is not supported")
	case from+to == "":
		return errors.New("must specify at least one container source")
	}
	e, err := x.open()
	if err != nil {
		return err
	}
	if x.opt.Container = from + to; from != "" {
		return x.out(ctx, e, src, dst)
	}
	return x.in(ctx, e, src, dst)
}

func (x *copying) out(ctx context.Context, e *engine.Engine, src, dst string) error {
	tree, err := e.ContainerFiles(ctx, x.opt.Container)
	if err != nil {
		return err
	}
	defer tree.Close()
	if dst == "-" {
		return tree.StreamOut(ctx, src, x.env.Stdout, x.opt)
	}
	x.opt.Progress = x.progress("Copying from container - ")
	r, err := tree.CopyOut(ctx, src, dst, x.opt)
	return x.report(r, r.Target, err)
}

func (x *copying) in(ctx context.Context, e *engine.Engine, src, dst string) error {
	tree, err := e.ContainerFiles(ctx, x.opt.Container)
	if err != nil {
		return err
	}
	defer tree.Close()
	if src == "-" {
		r, err := tree.StreamIn(ctx, x.env.Stdin, dst, x.opt)
		x.warnDevices(r, err)
		return err
	}
	x.opt.Progress = x.progress("Copying to container - ")
	r, err := tree.CopyIn(ctx, src, dst, x.opt)
	return x.report(r, x.opt.Container+":"+r.Target, err)
}

// progress shows how far a copy is, on a terminal.
func (x *copying) progress(title string) func(int64) {
	if x.quiet || !term.IsTerminal(x.env.Stderr) {
		return nil
	}
	x.shown = time.Now() // short copies need no progress
	return func(n int64) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if time.Since(x.shown) < 200*time.Millisecond {
			return
		}
		x.shown, x.lines = time.Now(), true
		fmt.Fprintf(x.env.Stderr, "\r\x1b[K%s%s", title, size(n))
	}
}

// size is how Docker shows the size of a copy.
func size(n int64) string { return units.HumanSizeWithPrecision(float64(n), 3) }

// report says what has been copied.
func (x *copying) report(r engine.CopyResult, target string, err error) error {
	x.mu.Lock()
	if x.lines {
		fmt.Fprint(x.env.Stderr, "\r\x1b[K")
	}
	x.mu.Unlock()
	x.warnDevices(r, err)
	if err == nil && !x.quiet {
		fmt.Fprintf(x.env.Stderr, "Successfully copied %s (transferred %s) to %s\n", size(r.Bytes), size(r.Transferred), target)
	}
	return err
}

func (x *copying) warnDevices(r engine.CopyResult, err error) {
	if r.Devices > 0 && err == nil {
		x.warn(fmt.Sprintf("%d device nodes were left out: only root makes them, and out of a container only with -a", r.Devices))
	}
}
