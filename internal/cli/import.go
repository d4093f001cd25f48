package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"berth/internal/cli/opts"
	"berth/internal/images"
)

// importCommand is import.
func (a *app) importCommand() *cobra.Command {
	c := &cobra.Command{Use: "import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]", Args: between(1, 2)}
	f := c.Flags()
	changes := opts.NewList("list", nil)
	f.VarP(changes, "change", "c", "Apply Dockerfile instruction to the created image")
	message := f.StringP("message", "m", "", "Set commit message for imported image")
	platform := f.String("platform", "", "Set platform if server is multi-platform capable")
	c.RunE = func(c *cobra.Command, args []string) error {
		source := args[0]
		if scheme, _, ok := strings.Cut(source, "://"); ok && (scheme == "http" || scheme == "https") {
			return fmt.Errorf("%s does not fetch files: run `curl -fL %s | %s import - %s`", a.name, source, a.name, strings.Join(args[1:], " "))
		}
		if source == "-" {
			source = ""
		}
		in, err := a.inputFile(source, "import")
		if err != nil {
			return err
		}
		defer in.Close()
		e, err := a.open()
		if err != nil {
			return err
		}
		opt := images.ImportOptions{Platform: *platform, Message: *message, Changes: changes.Values()}
		if opt.Message == "" {
			opt.Message = "Imported from " + args[0]
		}
		if len(args) == 2 {
			opt.Name = args[1]
		}
		ctx, g := a.watch(c.Context())
		defer g.stop()
		id, err := e.Images().Import(ctx, in, opt)
		if left := g.leave(); left != nil {
			return left
		}
		if err != nil {
			return err
		}
		return a.println(id)
	}
	return c
}
