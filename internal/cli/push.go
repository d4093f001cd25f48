package cli

import (
	"github.com/spf13/cobra"

	"berth/internal/cli/progress"
	"berth/internal/engine"
	"berth/internal/registry/ref"
)

// pushCommand is push.
func (a *app) pushCommand() *cobra.Command {
	c := &cobra.Command{Use: "push [OPTIONS] NAME[:TAG]", Args: exactly(1)}
	f := c.Flags()
	all := f.BoolP("all-tags", "a", false, "Push all tags of an image to the repository")
	platform := f.String("platform", "", "Push the image only if it is for this platform: \"os[/arch[/variant]]\"")
	quiet := f.BoolP("quiet", "q", false, "Suppress verbose output")
	show := progressFlag(f)
	f.Bool("disable-content-trust", true, "Skip image signing")
	f.Lookup("disable-content-trust").Hidden = true
	c.RunE = func(c *cobra.Command, args []string) error {
		report, err := a.reportOn(*show, *quiet, a.env.Stdout)
		if err != nil {
			return err
		}
		e, err := a.openToPull()
		if err != nil {
			return err
		}
		opt := engine.PushOptions{Ref: args[0], Platform: *platform, AllTags: *all}
		if report != nil {
			opt.Progress = report
			if r, err := ref.ParseName(args[0]); err == nil && r.Tag == "" && r.Digest == "" && !*all {
				report.Message("Using default tag: " + ref.DefaultTag)
			}
		}
		ctx, g := a.watch(c.Context())
		defer g.stop()
		res, err := e.ImagePush(ctx, opt)
		left := g.leave()
		if j, ok := report.(*progress.JSON); ok && err != nil && left == nil {
			j.Fail(err)
		}
		a.endProgress(report)
		switch {
		case left != nil:
			return left
		case err != nil:
			return err
		case report == nil:
			return a.println(res.Ref)
		}
		return nil
	}
	return c
}
