package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/image"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"berth/internal/cli/format"
	"berth/internal/cli/opts"
	"berth/internal/engine"
)

// pruning holds the options that all prune commands have.
type pruning struct {
	filters    opts.Filters
	force, all bool
}

func pruneFlags(f *pflag.FlagSet, filterUsage string) *pruning {
	p := &pruning{}
	f.Var(&p.filters, "filter", filterUsage)
	f.BoolVarP(&p.force, "force", "f", false, "Do not prompt for confirmation")
	return p
}

// go on says whether the person wants what the warning tells.
func (p *pruning) agreed(a *app, warning string) bool { return p.force || a.confirm(warning) }

const untilFilter = `Provide filter values (e.g. "until=<timestamp>")`

// containerPruneCommand is container prune.
func (a *app) containerPruneCommand() *cobra.Command {
	c := &cobra.Command{Use: "prune [OPTIONS]", Args: noArgs}
	p := pruneFlags(c.Flags(), untilFilter)
	c.RunE = func(c *cobra.Command, args []string) error {
		if !p.agreed(a, "This will remove all stopped containers.") {
			return nil
		}
		return a.pruneAndSum(c.Context(), pruneContainers(p.filters))
	}
	return c
}

// imagePruneCommand is image prune.
func (a *app) imagePruneCommand() *cobra.Command {
	c := &cobra.Command{Use: "prune [OPTIONS]", Args: noArgs}
	p := pruneFlags(c.Flags(), untilFilter)
	c.Flags().BoolVarP(&p.all, "all", "a", false, "Remove all unused images, not just dangling ones")
	c.RunE = func(c *cobra.Command, args []string) error {
		warning := "This will remove all dangling images."
		if p.all {
			warning = "This will remove all images without at least one container associated to them."
		}
		if !p.agreed(a, warning) {
			return nil
		}
		return a.pruneAndSum(c.Context(), pruneImages(p.all, p.filters))
	}
	return c
}

// volumePruneCommand is volume prune.
func (a *app) volumePruneCommand() *cobra.Command {
	c := &cobra.Command{Use: "prune [OPTIONS]", Args: noArgs}
	p := pruneFlags(c.Flags(), `Provide filter values (e.g. "label=<label>")`)
	c.Flags().BoolVarP(&p.all, "all", "a", false, "Remove all unused volumes, not just anonymous ones")
	c.RunE = func(c *cobra.Command, args []string) error {
		warning := "This will remove anonymous local volumes not used by at least one container."
		if p.all {
			warning = "This will remove all local volumes not used by at least one container."
		}
		if !p.agreed(a, warning) {
			return nil
		}
		return a.pruneAndSum(c.Context(), pruneVolumes(p.all, p.filters))
	}
	return c
}

// systemPruneCommand is system prune.
func (a *app) systemPruneCommand() *cobra.Command {
	c := &cobra.Command{Use: "prune [OPTIONS]", Args: noArgs}
	p := pruneFlags(c.Flags(), `Provide filter values (e.g. "label=<key>=<value>")`)
	c.Flags().BoolVarP(&p.all, "all", "a", false, "Remove all unused images not just dangling ones")
	volumes := c.Flags().Bool("volumes", false, "Prune anonymous volumes")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *volumes && len(p.filters["until"]) > 0 {
			return fmt.Errorf(`the "until" filter is not supported with "--volumes"`)
		}
		if !p.agreed(a, systemWarning(p.all, *volumes, p.filters)) {
			return nil
		}
		steps := []pruneStep{pruneContainers(p.filters), pruneNetworks(p.filters)}
		if *volumes {
			steps = append(steps, pruneVolumes(false, p.filters))
		}
		return a.pruneAndSum(c.Context(), append(steps, pruneImages(p.all, p.filters), pruneDownloads(p.filters))...)
	}
	return c
}

func systemWarning(all, volumes bool, filters opts.Filters) string {
	items := []string{"all stopped containers", "all networks not used by at least one container"}
	if volumes {
		items = append(items, "all anonymous volumes not used by at least one container")
	}
	if all {
		items = append(items, "all images without at least one container associated to them")
	} else {
		items = append(items, "all dangling images")
	}
	items = append(items, "what interrupted pulls have left")
	text := "This will remove:\n  - " + strings.Join(items, "\n  - ") + "\n"
	var chosen []string
	for _, key := range []string{"label", "label!", "until"} {
		for _, v := range filters[key] {
			chosen = append(chosen, key+"="+v)
		}
	}
	if len(chosen) > 0 {
		text += "\n  Items to be pruned will be filtered with:\n  - " + strings.Join(chosen, "\n  - ") + "\n"
	}
	return text
}

// pruneStep removes the unused things of one kind. It returns a title and a
// line for each of them, and the bytes that became free.
type pruneStep func(ctx context.Context, e *engine.Engine) (title string, lines []string, freed uint64, err error)

func pruneContainers(filters opts.Filters) pruneStep {
	return func(ctx context.Context, e *engine.Engine) (string, []string, uint64, error) {
		r, err := e.ContainerPrune(ctx, filters)
		return "Deleted Containers:", r.ContainersDeleted, r.SpaceReclaimed, err
	}
}

func pruneVolumes(all bool, filters opts.Filters) pruneStep {
	return func(ctx context.Context, e *engine.Engine) (string, []string, uint64, error) {
		r, err := e.VolumePrune(ctx, all, filters)
		return "Deleted Volumes:", r.VolumesDeleted, r.SpaceReclaimed, err
	}
}

func pruneImages(all bool, filters opts.Filters) pruneStep {
	return func(ctx context.Context, e *engine.Engine) (string, []string, uint64, error) {
		r, err := e.Images().Prune(ctx, all, filters)
		return "Deleted Images:", deletedLines(r.ImagesDeleted), r.SpaceReclaimed, err
	}
}

// pruneDownloads also sweeps what killed commands have left half-made.
func pruneDownloads(filters opts.Filters) pruneStep {
	return func(ctx context.Context, e *engine.Engine) (string, []string, uint64, error) {
		gone, freed, err := e.DownloadPrune(ctx, filters)
		if err == nil {
			err = e.Sweep(ctx)
		}
		return "Deleted Downloads:", gone, freed, err
	}
}

// deletedLines tells names that went from images that went.
func deletedLines(gone []image.DeleteResponse) []string {
	var lines []string
	for _, g := range gone {
		if g.Untagged != "" {
			lines = append(lines, "untagged: "+g.Untagged)
		} else {
			lines = append(lines, "deleted: "+g.Deleted)
		}
	}
	return lines
}

// pruneAndSum carries out the steps and prints what went and how much room
// that gave.
func (a *app) pruneAndSum(ctx context.Context, steps ...pruneStep) error {
	e, err := a.open()
	if err != nil {
		return err
	}
	var freed uint64
	for _, step := range steps {
		title, lines, n, err := step(ctx, e)
		if len(lines) > 0 {
			if err := a.println(title + "\n" + strings.Join(lines, "\n") + "\n"); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		freed += n
	}
	return a.println("Total reclaimed space: " + format.HumanSize(freed))
}
