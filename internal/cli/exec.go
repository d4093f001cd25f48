package cli

import (
	"github.com/spf13/cobra"

	"berth/internal/cli/opts"
	"berth/internal/engine"
)

// execCommand is exec.
func (a *app) execCommand() *cobra.Command {
	c := &cobra.Command{Use: "exec [OPTIONS] CONTAINER COMMAND [ARG...]", Args: atLeast(2)}
	f := c.Flags()
	f.SetInterspersed(false)
	var o engine.ExecOptions
	env := opts.NewList("", opts.Variable(a.env.LookupEnv))
	envFiles := opts.NewList("", nil)
	f.BoolVarP(&o.Detach, "detach", "d", false, "Detached mode: run command in the background")
	f.String("detach-keys", "", "Override the key sequence for detaching a container")
	f.VarP(env, "env", "e", "Set environment variables")
	f.Var(envFiles, "env-file", "Read in a file of environment variables")
	f.BoolVarP(&o.Stdin, "interactive", "i", false, "Keep STDIN open even if not attached")
	f.BoolVar(&o.Privileged, "privileged", false, "Give extended privileges to the command")
	f.BoolVarP(&o.Tty, "tty", "t", false, "Allocate a pseudo-TTY")
	f.StringVarP(&o.User, "user", "u", "", `Username or UID (format: "<name|uid>[:<group|gid>]")`)
	f.StringVarP(&o.WorkingDir, "workdir", "w", "", "Working directory inside the container")
	c.RunE = func(c *cobra.Command, args []string) error {
		var err error
		if o.Env, err = opts.Environment(envFiles.Values(), env.Values(), a.env.LookupEnv); err != nil {
			return err
		}
		o.Cmd = args[1:]
		return a.withHint(c, a.exec(c, args[0], o), args[0], args[1:])
	}
	return c
}

func (a *app) exec(c *cobra.Command, name string, o engine.ExecOptions) error {
	o.Stdin = o.Stdin && !o.Detach
	if err := a.checkTTY(o.Stdin, o.Tty); err != nil {
		return err
	}
	keys, err := a.detachKeys(c.Flag("detach-keys"))
	if err != nil {
		return err
	}
	e, err := a.open()
	if err != nil {
		return err
	}
	if o.Detach {
		_, _, err := e.ContainerExec(c.Context(), name, o)
		return err
	}
	ctx, g := a.watch(c.Context())
	defer g.stop()
	if o.Tty {
		h, w := a.consoleSize()
		o.ConsoleSize = [2]uint{h, w}
	}
	_, session, err := e.ContainerExec(ctx, name, o)
	if left := g.leave(); left != nil && session == nil {
		return left
	}
	if err != nil {
		return err
	}
	return g.talk(session, stream{tty: o.Tty, stdin: o.Stdin, stdout: true, stderr: true, sigProxy: true, keys: keys})
}
