package cli

import (
	"context"

	"github.com/spf13/cobra"

	"berth/internal/cli/netcmd"
	"berth/internal/cli/opts"
	"berth/internal/engine"
)

// networks lends the verbs of network what all commands use.
func (a *app) networks() netcmd.Face {
	return netcmd.Face{
		Stdout: a.env.Stdout, Open: a.open, Print: a.println, Warn: a.warn, Confirm: a.confirm, Refuse: refuse, FormatFlag: formatFlag,
		EachOf:     func(names []string, do func(string) error) error { return a.eachOf(names, false, do) },
		ListFormat: func() string { return a.clientConfig().NetworksFormat },
		Words: func(least, most int) cobra.PositionalArgs {
			switch {
			case most == 0:
				return noArgs
			case most < 0:
				return atLeast(least)
			}
			return exactly(most)
		},
	}
}

// networkVerbs are the rows of network in the table of all commands.
func networkVerbs() []verb {
	return []verb{
		{names("network connect"), "Connect a container to a network", func(a *app) *cobra.Command { return a.networks().Connect() }},
		{names("network create"), "Create a network", func(a *app) *cobra.Command { return a.networks().Create() }},
		{names("network disconnect"), "Disconnect a container from a network", func(a *app) *cobra.Command { return a.networks().Disconnect() }},
		{names("network inspect"), "Display detailed information on one or more networks", (*app).networkInspectCommand},
		{names("network ls", "network list"), "List networks", func(a *app) *cobra.Command { return a.networks().List() }},
		{names("network prune"), "Remove all unused networks", func(a *app) *cobra.Command { return a.networks().Prune() }},
		{names("network rm", "network remove"), "Remove one or more networks", func(a *app) *cobra.Command { return a.networks().Remove() }},
	}
}

// networkInspectCommand is network inspect.
func (a *app) networkInspectCommand() *cobra.Command {
	c := &cobra.Command{Use: "inspect [OPTIONS] NETWORK [NETWORK...]", Args: atLeast(1)}
	layout := inspectFlag(c.Flags())
	c.Flags().BoolP("verbose", "v", false, "Verbose output for diagnostics")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.inspect(c.Context(), *layout, args, "network", []finder{findNetwork})
	}
	return c
}

func findNetwork(ctx context.Context, e *engine.Engine, name string) (any, error) {
	return e.Networks().Inspect(ctx, name)
}

func pruneNetworks(filters opts.Filters) pruneStep {
	return func(ctx context.Context, e *engine.Engine) (string, []string, uint64, error) {
		r, err := e.Networks().Prune(ctx, filters)
		return "Deleted Networks:", r.NetworksDeleted, 0, err
	}
}
