package cli

import (
	"context"

	"github.com/spf13/cobra"

	"berth/internal/engine"
	"berth/internal/images"
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
		opt := images.PushOptions{Ref: args[0], Platform: *platform, AllTags: *all}
		var result images.PushResult
		err = a.carry(c.Context(), report, opt.Ref, *all, func(ctx context.Context, e *engine.Engine, p images.Progress) (err error) {
			opt.Progress = p
			result, err = e.Images().Push(ctx, opt)
			return err
		})
		if err != nil || report != nil {
			return err
		}
		return a.println(result.Ref)
	}
	return c
}
