package cli

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	"berth/internal/images"
)

// manifestInspectCommand is manifest inspect.
func (a *app) manifestInspectCommand() *cobra.Command {
	c := &cobra.Command{Use: "inspect [OPTIONS] MANIFEST", Args: exactly(1)}
	f := c.Flags()
	insecure := f.Bool("insecure", false, "Allow communication with an insecure registry")
	verbose := f.BoolP("verbose", "v", false, "Output additional info including layers and platform")
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.openToPull()
		if err != nil {
			return err
		}
		ctx, g := a.watch(c.Context())
		defer g.stop()
		docs, err := e.Images().Manifests(ctx, images.ManifestOptions{Ref: args[0], Insecure: *insecure, Each: *verbose})
		if left := g.leave(); left != nil {
			return left
		}
		if err != nil {
			return err
		}
		text, err := manifestText(docs, *verbose)
		if err != nil {
			return err
		}
		return a.println(text)
	}
	return c
}

// verboseManifest is a manifest with what is known of it, in Docker's form.
type verboseManifest struct {
	Ref              string
	Descriptor       manifestDescriptor
	Raw              []byte
	SchemaV2Manifest json.RawMessage `json:",omitempty"`
	OCIManifest      json.RawMessage `json:",omitempty"`
}

type manifestDescriptor struct {
	MediaType string           `json:"mediaType"`
	Digest    string           `json:"digest"`
	Size      int64            `json:"size"`
	Platform  *images.Platform `json:"platform,omitempty"`
}

// manifestText writes manifests as Docker does: as the registry has them, or
// with the words around that --verbose asks for; of a list, all that it names.
func manifestText(docs []images.ManifestDocument, verbose bool) (string, error) {
	if !verbose {
		var b bytes.Buffer
		indent := "\t"
		if docs[0].List {
			indent = "   "
		}
		err := json.Indent(&b, bytes.TrimSpace(docs[0].Raw), "", indent)
		return b.String(), err
	}
	var all []verboseManifest
	for _, d := range docs {
		v := verboseManifest{Ref: d.Ref, Raw: d.Raw, Descriptor: manifestDescriptor{d.MediaType, d.Digest, d.Size, d.Platform}}
		if strings.HasPrefix(d.MediaType, "application/vnd.docker.") {
			v.SchemaV2Manifest = d.Raw
		} else {
			v.OCIManifest = d.Raw
		}
		all = append(all, v)
	}
	var out any = all
	if len(all) == 1 && !docs[0].Listed {
		out = all[0]
	}
	b, err := json.MarshalIndent(out, "", "\t")
	return string(b), err
}
