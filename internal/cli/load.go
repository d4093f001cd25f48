package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"berth/internal/cli/term"
	"berth/internal/images"
)

// loadCommand is load.
func (a *app) loadCommand() *cobra.Command {
	c := &cobra.Command{Use: "load [OPTIONS]", Args: noArgs}
	f := c.Flags()
	input := f.StringP("input", "i", "", "Read from tar archive file, instead of STDIN")
	platform := f.String("platform", "", `Load only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")`)
	quiet := f.BoolP("quiet", "q", false, "Suppress the load output")
	c.RunE = func(c *cobra.Command, args []string) error {
		in, err := a.inputFile(*input, "load")
		if err != nil {
			return err
		}
		defer in.Close()
		e, err := a.open()
		if err != nil {
			return err
		}
		var progress images.Progress
		if !*quiet && term.IsTerminal(a.env.Stdout) {
			progress = a.progressOn(a.env.Stdout)
		}
		ctx, g := a.watch(c.Context())
		defer g.stop()
		loaded, err := e.Images().Load(ctx, in, *platform, progress)
		a.endProgress(progress)
		if left := g.leave(); left != nil {
			return left
		}
		if err != nil {
			return fmt.Errorf("cannot load %s: %w", in.Name(), err)
		}
		for _, l := range loaded {
			if len(l.Names) == 0 {
				err = errors.Join(err, a.println("Loaded image ID: "+l.ID))
			}
			for _, n := range l.Names {
				err = errors.Join(err, a.println("Loaded image: "+n))
			}
		}
		return err
	}
	return c
}

// inputFile opens what a command reads: a file, or standard input if none is
// named, which must not be a terminal.
func (a *app) inputFile(path, verb string) (*os.File, error) {
	if path == "" {
		if term.IsTerminal(a.env.Stdin) {
			return nil, errors.New("requested " + verb + " from stdin, but stdin is empty")
		}
		return a.env.Stdin, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close()
		return nil, errors.New(path + " is a folder, not an archive")
	}
	return f, nil
}
