package cli

import (
	"context"

	"github.com/spf13/cobra"

	"berth/internal/engine"
)

// pauseCommand is pause.
func (a *app) pauseCommand() *cobra.Command {
	return a.freezeCommand("pause", (*engine.Engine).ContainerPause)
}

// unpauseCommand is unpause.
func (a *app) unpauseCommand() *cobra.Command {
	return a.freezeCommand("unpause", (*engine.Engine).ContainerUnpause)
}

func (a *app) freezeCommand(name string, do func(*engine.Engine, context.Context, string) error) *cobra.Command {
	c := &cobra.Command{Use: name + " CONTAINER [CONTAINER...]", Args: atLeast(1)}
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		return a.eachOf(args, true, func(name string) error { return do(e, c.Context(), name) })
	}
	return c
}
