package cli

import (
	"fmt"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"berth/internal/cli/progress"
	"berth/internal/cli/term"
	"berth/internal/engine"
	"berth/internal/registry/ref"
)

// pullCommand is pull.
func (a *app) pullCommand() *cobra.Command {
	c := &cobra.Command{Use: "pull [OPTIONS] NAME[:TAG|@DIGEST]", Args: exactly(1)}
	f := c.Flags()
	all := f.BoolP("all-tags", "a", false, "Download all tagged images in the repository")
	platform := f.String("platform", "", "Set platform if server is multi-platform capable")
	quiet := f.BoolP("quiet", "q", false, "Suppress verbose output")
	f.Bool("disable-content-trust", true, "Skip image verification")
	f.Lookup("disable-content-trust").Hidden = true
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.openToPull()
		if err != nil {
			return err
		}
		opt := engine.PullOptions{Ref: args[0], Platform: *platform, AllTags: *all}
		if !*quiet {
			if r, err := ref.ParseName(args[0]); err == nil && r.Tag == "" && r.Digest == "" && !*all {
				if err := a.println("Using default tag: " + ref.DefaultTag); err != nil {
					return err
				}
			}
			opt.Progress = a.progressOn(a.env.Stdout)
		}
		ctx, g := a.watch(c.Context())
		defer g.stop()
		result, err := e.ImagePull(ctx, opt)
		a.endProgress(opt.Progress)
		if left := g.leave(); left != nil {
			return left
		}
		if err != nil {
			return err
		}
		return a.printPull(result, *quiet)
	}
	return c
}

// printPull says what a pull has brought.
func (a *app) printPull(r engine.PullResult, quiet bool) error {
	if !quiet {
		status := "Downloaded newer image for "
		if r.UpToDate {
			status = "Image is up to date for "
		}
		short := r.Ref
		if parsed, err := ref.Parse(r.Ref); err == nil {
			short = parsed.Familiar()
		}
		if err := a.println("Digest: " + r.Digest + "\nStatus: " + status + short); err != nil {
			return err
		}
	}
	return a.println(r.Ref)
}

// reporter is a progress report that has an end.
type reporter interface {
	engine.Progress
	Close()
}

// progressOn reports a pull on f: bars on a terminal, lines elsewhere.
func (a *app) progressOn(f *os.File) reporter {
	if term.IsTerminal(f) {
		return progress.NewBars(f, func() (uint, uint) { return term.Size(f) })
	}
	return progress.NewLines(f)
}

// endProgress leaves the last state on the screen.
func (a *app) endProgress(p engine.Progress) {
	if r, ok := p.(reporter); ok {
		r.Close()
	}
}

// createProgress reports the pull that run and create may need. It goes to
// standard error, because standard output belongs to the program.
func (a *app) createProgress(image, policy string, quiet bool) engine.Progress {
	if policy == "never" || quiet {
		return nil
	}
	p := &missing{reporter: a.progressOn(a.env.Stderr)}
	if policy == "missing" {
		p.first = func() {
			if r, err := ref.Parse(image); err == nil {
				image = r.Familiar()
			}
			fmt.Fprintf(a.env.Stderr, "Unable to find image '%s' locally\n", image)
		}
	}
	return p
}

// missing says first that an image was not there.
type missing struct {
	reporter
	first func()
	once  sync.Once
}

func (m *missing) begin() {
	if m.first != nil {
		m.once.Do(m.first)
	}
}

func (m *missing) Message(text string) { m.begin(); m.reporter.Message(text) }

func (m *missing) Layer(id, status string, current, total int64) {
	m.begin()
	m.reporter.Layer(id, status, current, total)
}
