package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"berth/internal/cli/format"
	"berth/internal/cli/opts"
	"berth/internal/engine"
)

// inspectCommand is inspect, which finds out by itself what a name stands for.
func (a *app) inspectCommand() *cobra.Command {
	c := &cobra.Command{Use: "inspect [OPTIONS] NAME|ID [NAME|ID...]", Args: atLeast(1)}
	f := c.Flags()
	layout := inspectFlag(f)
	size := f.BoolP("size", "s", false, "Display total file sizes if the type is container")
	kind := f.String("type", "", "Only inspect objects of the given type (container|image|network|volume)")
	c.RunE = func(c *cobra.Command, args []string) error {
		if f.Changed("type") && *kind == "" {
			return &failure{code: 1, text: `type is empty: must be one of "container", "image", "network", "volume"`}
		}
		kinds, err := inspectKinds(*kind, *size)
		if err != nil {
			return err
		}
		return a.inspect(c.Context(), *layout, args, *kind, kinds)
	}
	return c
}

// finder looks up one object.
type finder func(ctx context.Context, e *engine.Engine, name string) (any, error)

// inspectKinds returns how to find objects, in the order in which Docker
// looks.
func inspectKinds(kind string, size bool) ([]finder, error) {
	find := findContainer
	if size {
		find = findSizedContainer
	}
	switch kind {
	case "":
		return []finder{find, findImage, findNetwork, findVolume}, nil
	case "container":
		return []finder{find}, nil
	case "image":
		return []finder{findImage}, nil
	case "network":
		return []finder{findNetwork}, nil
	case "volume":
		return []finder{findVolume}, nil
	case "config", "node", "plugin", "secret", "service", "task":
		return nil, opts.NotSupported("inspect --type " + kind)
	}
	return nil, &failure{code: 1, text: fmt.Sprintf(`unknown type: %q: must be one of "container", "image", "network", "volume"`, kind)}
}

func findContainer(ctx context.Context, e *engine.Engine, name string) (any, error) {
	return e.ContainerInspect(ctx, name)
}

// findSizedContainer adds the sizes, which take a walk through the files.
func findSizedContainer(ctx context.Context, e *engine.Engine, name string) (any, error) {
	info, err := e.ContainerInspect(ctx, name)
	if err != nil {
		return nil, err
	}
	list, err := e.ContainerList(ctx, engine.ListOptions{All: true, Size: true, Filters: map[string][]string{"id": {info.ID}}})
	for _, s := range list {
		info.SizeRw, info.SizeRootFs = &s.SizeRw, &s.SizeRootFs
	}
	return info, err
}

func findImage(ctx context.Context, e *engine.Engine, name string) (any, error) {
	return e.Images().Inspect(ctx, name)
}

func findVolume(ctx context.Context, e *engine.Engine, name string) (any, error) {
	return e.VolumeInspect(ctx, name)
}

// inspect prints the objects that the names stand for. What is not found is
// said after what is.
func (a *app) inspect(ctx context.Context, layout string, names []string, what string, kinds []finder) error {
	e, err := a.open()
	if err != nil {
		return err
	}
	var found []any
	var problems []error
	for _, n := range names {
		o, err := findOne(ctx, e, n, what, kinds)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		found = append(found, o)
	}
	if err := format.Inspect(a.env.Stdout, layout, found); err != nil {
		return templateFailure(err)
	}
	for _, p := range problems {
		fmt.Fprintf(a.env.Stderr, "Error: %v\n", p)
	}
	if len(problems) > 0 {
		return silent(1)
	}
	return nil
}

func findOne(ctx context.Context, e *engine.Engine, name, what string, kinds []finder) (any, error) {
	for _, find := range kinds {
		o, err := find(ctx, e, name)
		if err == nil {
			return o, nil
		}
		// A name that cannot be an image's may still be a volume's.
		if !errors.Is(err, engine.ErrNotFound) && !errors.Is(err, engine.ErrInvalid) {
			return nil, err
		}
	}
	if what == "" {
		what = "object"
	}
	return nil, &failure{code: 1, text: fmt.Sprintf("No such %s: %s", what, name)}
}

// containerInspectCommand is container inspect.
func (a *app) containerInspectCommand() *cobra.Command {
	c := &cobra.Command{Use: "inspect [OPTIONS] CONTAINER [CONTAINER...]", Args: atLeast(1)}
	layout := inspectFlag(c.Flags())
	size := c.Flags().BoolP("size", "s", false, "Display total file sizes")
	c.RunE = func(c *cobra.Command, args []string) error {
		kinds, err := inspectKinds("container", *size)
		if err != nil {
			return err
		}
		return a.inspect(c.Context(), *layout, args, "container", kinds)
	}
	return c
}

// imageInspectCommand is image inspect.
func (a *app) imageInspectCommand() *cobra.Command {
	c := &cobra.Command{Use: "inspect [OPTIONS] IMAGE [IMAGE...]", Args: atLeast(1)}
	layout := inspectFlag(c.Flags())
	platform := c.Flags().String("platform", "", "Inspect a specific platform of the multi-platform image")
	c.RunE = func(c *cobra.Command, args []string) error {
		find := findImage
		if *platform != "" {
			find = func(ctx context.Context, e *engine.Engine, name string) (any, error) {
				id, err := e.Images().On(ctx, name, *platform)
				if err != nil {
					return nil, err
				}
				return e.Images().Inspect(ctx, id)
			}
		}
		return a.inspect(c.Context(), *layout, args, "image", []finder{find})
	}
	return c
}

// volumeInspectCommand is volume inspect.
func (a *app) volumeInspectCommand() *cobra.Command {
	c := &cobra.Command{Use: "inspect [OPTIONS] VOLUME [VOLUME...]", Args: atLeast(1)}
	layout := inspectFlag(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.inspect(c.Context(), *layout, args, "volume", []finder{findVolume})
	}
	return c
}
