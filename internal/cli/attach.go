package cli

import (
	"github.com/spf13/cobra"

	"berth/internal/engine"
)

// attachCommand is attach.
func (a *app) attachCommand() *cobra.Command {
	c := &cobra.Command{Use: "attach [OPTIONS] CONTAINER", Args: exactly(1)}
	f := c.Flags()
	f.String("detach-keys", "", "Override the key sequence for detaching a container")
	noStdin := f.Bool("no-stdin", false, "Do not attach STDIN")
	sigProxy := f.Bool("sig-proxy", true, "Proxy all received signals to the process")
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		info, err := e.ContainerInspect(c.Context(), args[0])
		if err != nil {
			return err
		}
		stdin := !*noStdin && info.Config.OpenStdin
		if err := a.checkTTY(stdin, info.Config.Tty); err != nil {
			return err
		}
		keys, err := a.detachKeys(c.Flag("detach-keys"))
		if err != nil {
			return err
		}
		ctx, g := a.watch(c.Context())
		defer g.stop()
		// A program with a terminal has painted a screen; without it the
		// person would look at an empty window.
		session, err := e.ContainerAttach(ctx, info.ID, engine.AttachOptions{Stdin: stdin, Logs: info.Config.Tty})
		if err != nil {
			return err
		}
		return g.talk(session, stream{tty: info.Config.Tty, stdin: stdin, stdout: true, stderr: true, sigProxy: *sigProxy, keys: keys})
	}
	return c
}
