package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"berth/internal/cli/opts"
	"berth/internal/engine"
)

// createCommand is create.
func (a *app) createCommand() *cobra.Command {
	c := &cobra.Command{Use: "create [OPTIONS] IMAGE [COMMAND] [ARG...]", Args: atLeast(1)}
	o := a.createFlags(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		cid, opt, err := o.prepare(a, c, args)
		if err != nil {
			return err
		}
		defer cid.close()
		e, err := a.openToPull()
		if err != nil {
			return err
		}
		created, err := e.ContainerCreate(c.Context(), opt)
		a.endProgress(opt.Progress)
		if err != nil {
			return err
		}
		a.warnAll(created.Warnings)
		if err := cid.write(created.ID); err != nil {
			return err
		}
		return a.println(created.ID)
	}
	return c
}

// creation holds the options that run and create share.
type creation struct {
	container            *opts.Container
	name, cidfile        string
	platform, pullPolicy string
	quiet, strict        bool
}

func (a *app) createFlags(f *pflag.FlagSet) *creation {
	// Words after the image belong to the command.
	f.SetInterspersed(false)
	o := &creation{container: opts.Register(f, a.env.LookupEnv)}
	f.StringVar(&o.name, "name", "", "Assign a name to the container")
	f.StringVar(&o.cidfile, "cidfile", "", "Write the container ID to the file")
	f.StringVar(&o.platform, "platform", "", "Set platform if server is multi-platform capable")
	f.StringVar(&o.pullPolicy, "pull", "missing", `Pull image before creating ("always", "missing", "never")`)
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Suppress the pull output")
	f.BoolVar(&o.strict, "strict-limits", false, "Refuse to start without all limits that were asked for")
	f.Bool("help", false, "Print usage")
	return o
}

// prepare reads the options and the words after them.
func (o *creation) prepare(a *app, c *cobra.Command, args []string) (*cidFile, engine.CreateOptions, error) {
	var none engine.CreateOptions
	wrong := func(err error) (*cidFile, engine.CreateOptions, error) {
		return nil, none, &failure{code: 125, text: fmt.Sprintf("%s\n\nRun '%s --help' for more information", err, c.CommandPath())}
	}
	if !slices.Contains([]string{"always", "missing", "never"}, o.pullPolicy) {
		return wrong(fmt.Errorf(`invalid pull option: '%s': must be one of "always", "missing" or "never"`, o.pullPolicy))
	}
	if args[0] == "" {
		return wrong(errors.New("invalid reference format"))
	}
	req, err := o.container.Build(args[0], args[1:])
	if err != nil {
		return wrong(err)
	}
	a.warnAll(req.Warnings)
	cid, err := openCIDFile(o.cidfile)
	if err != nil {
		return wrong(err)
	}
	req.HostConfig.ContainerIDFile = o.cidfile
	opt := engine.CreateOptions{
		Name: o.name, Config: req.Config, HostConfig: req.HostConfig, Platform: o.platform,
		Network: &network.NetworkingConfig{EndpointsConfig: req.Networks},
		Pull:    o.pullPolicy, PullQuiet: o.quiet, StrictLimits: o.strict, Proxies: a.clientConfig().Proxies["default"], Progress: a.createProgress(args[0], o.pullPolicy, o.quiet),
	}
	return cid, opt, nil
}

func (a *app) warnAll(warnings []string) {
	for _, w := range warnings {
		a.warn(w)
	}
}

// cidFile is the file that --cidfile names. It is made before the container,
// so that two commands cannot both think it theirs, and goes again when
// there is no container to name in it.
type cidFile struct {
	f       *os.File
	written bool
}

func openCIDFile(path string) (*cidFile, error) {
	if path == "" {
		return &cidFile{}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("container ID file found, make sure the other container isn't running or delete %s", path)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to create the container ID file: %w", err)
	}
	return &cidFile{f: f}, nil
}

func (c *cidFile) write(id string) error {
	if c.f == nil || c.written {
		return nil
	}
	if _, err := c.f.WriteString(id); err != nil {
		return fmt.Errorf("failed to write the container ID to the file: %w", err)
	}
	c.written = true
	return nil
}

func (c *cidFile) close() {
	if c.f == nil {
		return
	}
	c.f.Close()
	if !c.written {
		os.Remove(c.f.Name())
	}
}
