package registry

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"berth/internal/registry/platform"
	"berth/internal/registry/ref"
)

// Media types of the documents that lead to an image. OCI's and Docker's
// differ in name only.
const (
	typeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	typeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	typeOCIConfig      = "application/vnd.oci.image.config.v1+json"
	typeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	typeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerConfig   = "application/vnd.docker.container.image.v1+json"
	typeSchema1        = "application/vnd.docker.distribution.manifest.v1"
)

const acceptManifests = typeOCIIndex + ", " + typeDockerList + ", " + typeOCIManifest + ", " + typeDockerManifest

// Descriptor names a blob by digest and says how big it is.
type Descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

func (d Descriptor) check() error {
	if err := ref.CheckDigest(d.Digest); err != nil {
		return fmt.Errorf("digest %q: %w", oneLine(d.Digest), err)
	}
	if d.Size < 0 {
		return fmt.Errorf("blob %s with the size %d", d.Digest, d.Size)
	}
	return nil
}

// entry is one manifest of a list.
type entry struct {
	Descriptor
	Platform *struct {
		OS      string `json:"os"`
		Arch    string `json:"architecture"`
		Variant string `json:"variant"`
	} `json:"platform"`
	Annotations map[string]string `json:"annotations"`
}

// document is a manifest or a list of manifests.
type document struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        *Descriptor  `json:"config"`
	Layers        []Descriptor `json:"layers"`
	Manifests     []entry      `json:"manifests"`
}

// parseDocument reads a manifest or list and finds out which it is: by its own
// word, else by the registry's, else by its shape.
func parseDocument(raw []byte, contentType string) (*document, error) {
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("its manifest is not valid: %v", err)
	}
	said := d.MediaType
	if said == "" {
		said, _, _ = strings.Cut(contentType, ";")
		d.MediaType = strings.TrimSpace(said)
	}
	switch {
	case d.SchemaVersion == 1, strings.HasPrefix(d.MediaType, typeSchema1):
		return nil, fmt.Errorf("it is in Docker's old format (manifest schema 1), which is no longer supported: build or push it again with a current tool")
	case d.Manifests != nil && (d.Layers != nil || d.Config != nil):
		return nil, fmt.Errorf("its manifest is a list and an image at once")
	case d.Manifests != nil && !isImageType(d.MediaType):
		if !isListType(d.MediaType) {
			d.MediaType = typeOCIIndex
		}
	case d.Config != nil && !isListType(d.MediaType):
		if !isImageType(d.MediaType) {
			d.MediaType = typeOCIManifest
		}
	default:
		return nil, fmt.Errorf("its manifest (%s) is none of an image", oneLine(d.MediaType))
	}
	return &d, nil
}

func isListType(t string) bool  { return t == typeOCIIndex || t == typeDockerList }
func isImageType(t string) bool { return t == typeOCIManifest || t == typeDockerManifest }

// isList reports whether the document is a list. It was made consistent when
// it was read.
func (d *document) isList() bool { return d.Config == nil }

// choose returns the entry of a list that serves the platform best. Entries
// that say nothing of platforms are chosen when nothing else fits.
func (d *document) choose(want platform.Platform) (Descriptor, bool) {
	best, fit := Descriptor{}, 0
	for _, e := range d.Manifests {
		if e.attestation() || e.MediaType != "" && !isListType(e.MediaType) && !isImageType(e.MediaType) {
			continue
		}
		f := 1
		if e.Platform != nil {
			f = want.Fit(platform.New(e.Platform.OS, e.Platform.Arch, e.Platform.Variant)) * 2
		}
		if f > fit {
			best, fit = e.Descriptor, f
		}
	}
	return best, fit > 0
}

// attestation reports whether the entry is a statement about another one,
// which builders put into lists under a platform that does not exist.
func (e *entry) attestation() bool {
	return e.Annotations["vnd.docker.reference.type"] != "" ||
		e.Platform != nil && e.Platform.OS == "unknown" && e.Platform.Arch == "unknown"
}

// offers names the platforms in a list.
func (d *document) offers() string {
	var have []string
	for _, e := range d.Manifests {
		if e.Platform == nil || e.attestation() {
			continue
		}
		p := platform.New(oneLine(e.Platform.OS), oneLine(e.Platform.Arch), oneLine(e.Platform.Variant)).String()
		if !slices.Contains(have, p) {
			have = append(have, p)
		}
	}
	if len(have) == 0 {
		return "nothing"
	}
	if len(have) > 20 {
		have = append(have[:20], "…")
	}
	return strings.Join(have, ", ")
}

// checkImage refuses manifests whose layers could not be unpacked.
func (d *document) checkImage() error {
	switch d.Config.MediaType {
	case typeOCIConfig, typeDockerConfig, "application/octet-stream", "":
	default:
		return fmt.Errorf("it is no container image: its content is of type %s", oneLine(d.Config.MediaType))
	}
	if err := d.Config.check(); err != nil {
		return fmt.Errorf("its manifest is not valid: %v", err)
	}
	for _, l := range d.Layers {
		if err := l.check(); err != nil {
			return fmt.Errorf("its manifest is not valid: %v", err)
		}
		if !isLayerType(l.MediaType) {
			return fmt.Errorf("its layer %s is of the type %s, which berth cannot unpack", l.Digest, oneLine(l.MediaType))
		}
	}
	return nil
}

// isLayerType reports whether t is a tar archive, packed or not. How it is
// packed is seen from its first bytes, as registries and builders mix this up.
// Layers that are not distributable are fetched like others, from the registry
// only.
func isLayerType(t string) bool {
	rest, ok := strings.CutPrefix(t, "application/vnd.oci.image.layer.")
	if ok {
		rest = strings.TrimPrefix(rest, "nondistributable.")
		return rest == "v1.tar" || rest == "v1.tar+gzip" || rest == "v1.tar+zstd"
	}
	rest, ok = strings.CutPrefix(t, "application/vnd.docker.image.rootfs.")
	if ok {
		rest = strings.TrimPrefix(rest, "foreign.")
		return rest == "diff.tar" || rest == "diff.tar.gzip" || rest == "diff.tar.zstd"
	}
	return false
}

// imageConfig is what a pull must know of an image's configuration.
type imageConfig struct {
	OS      string `json:"os"`
	Arch    string `json:"architecture"`
	Variant string `json:"variant"`
	RootFS  struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

func parseConfig(raw []byte, layers int) (*imageConfig, error) {
	var c imageConfig
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("its configuration is not valid: %v", err)
	}
	if len(c.RootFS.DiffIDs) != layers {
		return nil, fmt.Errorf("its configuration lists %d layers, but its manifest %d", len(c.RootFS.DiffIDs), layers)
	}
	for _, id := range c.RootFS.DiffIDs {
		if err := ref.CheckDigest(id); err != nil {
			return nil, fmt.Errorf("its configuration lists the layer %q, which is no digest", oneLine(id))
		}
	}
	return &c, nil
}

func (c *imageConfig) platform() platform.Platform {
	if c.OS == "" && c.Arch == "" {
		return platform.Host()
	}
	return platform.New(c.OS, c.Arch, c.Variant)
}
