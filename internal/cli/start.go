package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"berth/internal/engine"
)

// startCommand is start.
func (a *app) startCommand() *cobra.Command {
	c := &cobra.Command{Use: "start [OPTIONS] CONTAINER [CONTAINER...]", Args: atLeast(1)}
	f := c.Flags()
	attach := f.BoolP("attach", "a", false, "Attach STDOUT/STDERR and forward signals")
	stdin := f.BoolP("interactive", "i", false, "Attach container's STDIN")
	sigProxy := f.Bool("sig-proxy", true, "Proxy received signals to the process")
	f.Lookup("sig-proxy").Hidden = true
	f.String("detach-keys", "", "Override the key sequence for detaching a container")
	f.String("checkpoint", "", "Restore from this checkpoint")
	f.String("checkpoint-dir", "", "Use a custom checkpoint storage directory")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := refuse(f, "checkpoint", "checkpoint-dir"); err != nil {
			return err
		}
		e, err := a.open()
		if err != nil {
			return err
		}
		if !*attach && !*stdin {
			return a.eachOf(args, true, func(name string) error {
				_, err := e.ContainerStart(c.Context(), name, engine.StartOptions{Warn: a.warn})
				return plainCode(err)
			})
		}
		if len(args) > 1 {
			return &failure{code: 1, text: "you cannot start and attach multiple containers at once"}
		}
		return a.startAttached(c, e, args[0], *stdin, *sigProxy)
	}
	return c
}

// plainCode takes the exit code of the program out of an error: start ends
// with 1 whatever the container could not run.
func plainCode(err error) error {
	if err == nil {
		return nil
	}
	return &failure{code: 1, text: err.Error(), err: err}
}

// startAttached starts one container and stays connected.
func (a *app) startAttached(c *cobra.Command, e *engine.Engine, name string, stdin, sigProxy bool) error {
	info, err := e.ContainerInspect(c.Context(), name)
	if err != nil {
		return err
	}
	stdin = stdin && info.Config.OpenStdin
	if err := a.checkTTY(stdin, info.Config.Tty); err != nil {
		return err
	}
	keys, err := a.detachKeys(c.Flag("detach-keys"))
	if err != nil {
		return err
	}
	ctx, g := a.watch(c.Context())
	defer g.stop()
	h, w := a.consoleSize()
	session, err := startOrAttach(ctx, e, info.ID, engine.StartOptions{Attach: true, Stdin: stdin, ConsoleSize: [2]uint{h, w}, Warn: a.warn})
	if left := g.leave(); left != nil && session == nil {
		return left
	}
	if err != nil {
		return plainCode(err)
	}
	return g.talk(session, stream{tty: info.Config.Tty, stdin: stdin, stdout: true, stderr: true, sigProxy: sigProxy, keys: keys})
}

// startOrAttach connects to a container that runs already as to one that it
// starts.
func startOrAttach(ctx context.Context, e *engine.Engine, id string, opt engine.StartOptions) (engine.Session, error) {
	s, err := e.ContainerStart(ctx, id, opt)
	if errors.Is(err, engine.ErrConflict) {
		return e.ContainerAttach(ctx, id, engine.AttachOptions{Stdin: opt.Stdin})
	}
	return s, err
}
