package cli

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"berth/internal/cli/progress"
	"berth/internal/cli/term"
	"berth/internal/engine"
	"berth/internal/images"
	"berth/internal/registry/ref"
)

// pullCommand is pull.
func (a *app) pullCommand() *cobra.Command {
	c := &cobra.Command{Use: "pull [OPTIONS] NAME[:TAG|@DIGEST]", Args: exactly(1)}
	f := c.Flags()
	all := f.BoolP("all-tags", "a", false, "Download all tagged images in the repository")
	platform := f.String("platform", "", "Set platform if server is multi-platform capable")
	quiet := f.BoolP("quiet", "q", false, "Suppress verbose output")
	show := progressFlag(f)
	keep := f.Bool("keep-blobs", false, "Keep the packed layers too, so that what is pushed or saved later is byte for byte what was pulled")
	share := f.String("store", "", "Put the image into this folder, for everybody who has it among its \"image-stores\"")
	f.Bool("disable-content-trust", true, "Skip image verification")
	f.Lookup("disable-content-trust").Hidden = true
	c.RunE = func(c *cobra.Command, args []string) error {
		if f.Changed("store") && *share == "" {
			return &failure{code: 1, text: "--store needs a folder"}
		}
		report, err := a.reportOn(*show, *quiet, a.env.Stdout)
		if err != nil {
			return err
		}
		opt := images.PullOptions{Ref: args[0], Platform: *platform, AllTags: *all, KeepBlobs: *keep}
		var result images.PullResult
		err = a.carry(c.Context(), report, opt.Ref, *all, func(ctx context.Context, e *engine.Engine, p images.Progress) (err error) {
			opt.Progress = p
			if *share != "" {
				result, err = e.Images().PullShared(ctx, opt, *share)
				return err
			}
			result, err = e.Images().Pull(ctx, opt)
			return err
		})
		if err != nil {
			return err
		}
		return a.printPull(result, report)
	}
	return c
}

// carry brings an image here or there and reports how that goes. Report may be
// nil.
func (a *app) carry(ctx context.Context, report reporter, name string, allTags bool, do func(context.Context, *engine.Engine, images.Progress) error) error {
	e, err := a.openToPull()
	if err != nil {
		return err
	}
	var heard images.Progress // stays nil where nobody listens
	if report != nil {
		heard = report
		if r, err := ref.ParseName(name); err == nil && r.Tag == "" && r.Digest == "" && !allTags {
			report.Message("Using default tag: " + ref.DefaultTag)
		}
	}
	ctx, g := a.watch(ctx)
	defer g.stop()
	err = do(ctx, e, heard)
	left := g.leave()
	if j, ok := report.(*progress.JSON); ok && err != nil && left == nil {
		j.Fail(err)
	}
	a.endProgress(report)
	if left != nil {
		return left
	}
	return err
}

// printPull says what a pull has brought.
func (a *app) printPull(r images.PullResult, report reporter) error {
	if report == nil {
		return a.println(r.Ref)
	}
	status := "Downloaded newer image for "
	if r.UpToDate {
		status = "Image is up to date for "
	}
	short := r.Ref
	if parsed, err := ref.ParseName(r.Ref); err == nil {
		short = parsed.Familiar()
	}
	report.Message("Digest: " + r.Digest)
	report.Message("Status: " + status + short)
	if _, ok := report.(*progress.JSON); ok {
		return nil
	}
	return a.println(r.Ref)
}

// progressFlag declares --progress.
func progressFlag(f *pflag.FlagSet) *string {
	return f.String("progress", "auto", `How to show what goes on ("auto", "tty", "plain", "json", "quiet")`)
}

// reportOn reports on f in the way that --progress asks for; nil is silent.
func (a *app) reportOn(show string, quiet bool, f *os.File) (reporter, error) {
	switch {
	case quiet || show == "quiet":
		return nil, nil
	case show == "auto":
		return a.progressOn(f), nil
	case show == "tty":
		return a.bars(f), nil
	case show == "plain":
		return progress.NewLines(f), nil
	case show == "json":
		return progress.NewJSON(f), nil
	}
	return nil, &failure{code: 125, text: fmt.Sprintf("invalid argument %q for --progress: must be auto, tty, plain, json or quiet", show)}
}

// reporter is a progress report that has an end.
type reporter interface {
	images.Progress
	Close()
}

// progressOn reports a pull on f: bars on a terminal, lines elsewhere.
func (a *app) progressOn(f *os.File) reporter {
	if term.IsTerminal(f) {
		return a.bars(f)
	}
	return progress.NewLines(f)
}

func (a *app) bars(f *os.File) reporter {
	return progress.NewBars(f, func() (uint, uint) { return term.Size(f) })
}

// endProgress leaves the last state on the screen.
func (a *app) endProgress(p images.Progress) {
	if r, ok := p.(reporter); ok {
		r.Close()
	}
}

// createProgress reports the pull that run and create may need. It goes to
// standard error, because standard output belongs to the program.
func (a *app) createProgress(image, policy string, quiet bool) images.Progress {
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
