package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"berth/internal/cli/opts"
	"berth/internal/engine"
)

// runCommand is run: make a container, start it, and stay with it.
func (a *app) runCommand() *cobra.Command {
	c := &cobra.Command{Use: "run [OPTIONS] IMAGE [COMMAND] [ARG...]", Args: atLeast(1)}
	f := c.Flags()
	o := a.createFlags(f)
	detach := f.BoolP("detach", "d", false, "Run container in background and print container ID")
	sigProxy := f.Bool("sig-proxy", true, "Proxy received signals to the process")
	f.String("detach-keys", "", "Override the key sequence for detaching a container")
	f.Lookup("pull").Usage = `Pull image before running ("always", "missing", "never")`
	c.RunE = func(c *cobra.Command, args []string) error {
		if *detach && o.container.Streams() {
			return &failure{code: 1, text: "conflicting options: cannot specify both --attach and --detach"}
		}
		var err error
		if *detach {
			err = a.runDetached(c, o, args)
		} else {
			err = a.runAttached(c, o, args, *sigProxy)
		}
		return a.withHint(c, err, args[0], args[1:])
	}
	return c
}

// runDetached starts a container and prints its ID.
func (a *app) runDetached(c *cobra.Command, o *creation, args []string) error {
	cid, opt, err := o.prepare(a, c, args)
	if err != nil {
		return err
	}
	defer cid.close()
	cfg := opt.Config
	cfg.AttachStdin, cfg.AttachStdout, cfg.AttachStderr, cfg.StdinOnce = false, false, false, false
	e, err := a.openToPull()
	if err != nil {
		return engineFailure(err)
	}
	created, _, err := e.ContainerRun(c.Context(), opt, engine.StartOptions{Warn: a.warn})
	if err := a.afterCreate(cid, opt, created); err != nil {
		return err
	}
	if created.ID != "" && (err == nil || !opt.HostConfig.AutoRemove) {
		if err := a.println(created.ID); err != nil {
			return err
		}
	}
	return engineFailure(err)
}

// runAttached starts a container and stays connected to it.
func (a *app) runAttached(c *cobra.Command, o *creation, args []string, sigProxy bool) error {
	if err := a.checkTTY(o.container.Interactive(), o.container.TTY()); err != nil {
		return err
	}
	keys, err := a.detachKeys(c.Flag("detach-keys"))
	if err != nil {
		return &failure{code: 125, text: err.Error()}
	}
	cid, opt, err := o.prepare(a, c, args)
	if err != nil {
		return err
	}
	defer cid.close()
	e, err := a.openToPull()
	if err != nil {
		return engineFailure(err)
	}
	ctx, g := a.watch(c.Context())
	defer g.stop()
	cfg := opt.Config
	h, w := a.consoleSize()
	start := engine.StartOptions{Attach: true, Stdin: cfg.AttachStdin && cfg.OpenStdin, ConsoleSize: [2]uint{h, w}, Warn: a.warn}
	created, session, err := e.ContainerRun(ctx, opt, start)
	if left := g.leave(); left != nil && session == nil {
		return left
	}
	if err := a.afterCreate(cid, opt, created); err != nil {
		return err
	}
	if err != nil {
		return engineFailure(err)
	}
	if !cfg.AttachStdout && !cfg.AttachStderr {
		if err := a.println(created.ID); err != nil {
			return err
		}
	}
	return engineFailure(g.talk(session, stream{
		tty: cfg.Tty, stdin: start.Stdin, stdout: cfg.AttachStdout || cfg.Tty && cfg.AttachStderr, stderr: cfg.AttachStderr,
		sigProxy: sigProxy, keys: keys,
	}))
}

// afterCreate prints and writes down what the creation brought, also when the
// start failed.
func (a *app) afterCreate(cid *cidFile, opt engine.CreateOptions, created engine.Created) error {
	a.endProgress(opt.Progress)
	a.warnAll(created.Warnings)
	if created.ID == "" {
		return nil
	}
	return engineFailure(cid.write(created.ID))
}

// withHint helps who wrote options after the image, where they are words of
// the command: "run busybox -it sh" looks for a program named -it.
func (a *app) withHint(c *cobra.Command, err error, subject string, words []string) error {
	var start *engine.StartError
	if len(words) == 0 || !strings.HasPrefix(words[0], "-") || !errors.As(err, &start) ||
		!strings.Contains(start.Text, strconv.Quote(words[0])) {
		return err
	}
	options, rest := splitOptions(c, words)
	line := slices.Concat([]string{c.CommandPath()}, options, []string{subject}, rest)
	what := "image"
	if c.Name() == "exec" {
		what = "container"
	}
	return &failure{
		code: start.Code, err: err,
		text: fmt.Sprintf("%v\n%s: options come before the %s: %s", err, a.name, what, strings.Join(line, " ")),
	}
}

// splitOptions tells the options at the front of words from what follows.
func splitOptions(c *cobra.Command, words []string) (options, rest []string) {
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.SetInterspersed(false)
	f.SetOutput(io.Discard)
	c.Flags().VisitAll(func(known *pflag.Flag) {
		copied := f.VarPF(opts.NewList(known.Value.Type(), nil), known.Name, known.Shorthand, "")
		copied.NoOptDefVal = known.NoOptDefVal
	})
	if f.Parse(words) != nil {
		return words[:1], words[1:]
	}
	n := len(words) - f.NArg()
	return words[:n], words[n:]
}
