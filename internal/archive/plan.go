package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"berth/internal/registry/platform"
	"berth/internal/registry/ref"
	"berth/internal/store"
)

// Bounds of what an archive may say of itself.
const (
	maxImages = 1000
	maxNames  = 10000
	maxLayers = 10000 // of one image
	maxDepth  = 3     // of indexes in indexes
)

// Names of the documents.
const (
	dockerFile       = "manifest.json"
	indexFile        = "index.json"
	layoutFile       = "oci-layout"
	repositoriesFile = "repositories"
	blobFolder       = "blobs/sha256/"
)

// Annotations that carry names in an index.
const (
	annotationFullName = "io.containerd.image.name"
	annotationRefName  = "org.opencontainers.image.ref.name"
	annotationKind     = "vnd.docker.reference.type" // of what is no image but belongs to one
)

// documents finds the documents of an archive by their names. It answers
// [errNoDocument] for what is not there, or not yet.
type documents interface {
	document(name string) ([]byte, error)
}

var errNoDocument = errors.New("not in the archive")

// dockerImage is an entry of a Docker archive's manifest.json.
type dockerImage struct {
	Config       string
	RepoTags     []string
	Layers       []string
	LayerSources map[string]store.Descriptor `json:",omitempty"`
}

// planned is an image that an archive holds.
type planned struct {
	id        string
	config    []byte
	mediaType string // of manifest
	manifest  []byte // nil: the archive has none
	names     []string
	layers    []planLayer // bottom first
}

// planLayer is a layer and the file that it is in.
type planLayer struct {
	diffID, file string
	desc         store.Descriptor // zero without a manifest
}

// plan is what an archive holds, put together from its documents.
type plan struct {
	docs   documents
	want   string // platform asked for; empty: what this machine runs, if there is a choice
	images []*planned
	names  int
	// complete says that both kinds of table of contents were there.
	complete bool
	other    []string // platforms of images that were not wanted
}

// makePlan reads the documents.
func makePlan(docs documents, want string) (*plan, error) {
	if _, err := platform.Parse(want); err != nil {
		return nil, err
	}
	p := &plan{docs: docs, want: want}
	index, indexErr := docs.document(indexFile)
	list, listErr := docs.document(dockerFile)
	p.complete = indexErr == nil && listErr == nil
	if indexErr != nil && listErr != nil {
		if _, err := docs.document(repositoriesFile); err == nil {
			return nil, errors.New("the archive was saved by a docker older than 1.10 and has no manifest.json: load and save it with a newer one")
		}
		return nil, errors.New("it is no archive of images: it has neither manifest.json nor index.json (a file system is brought in by `import`)")
	}
	if indexErr == nil {
		if err := p.readIndex(index, 0, nil); err != nil {
			return nil, err
		}
	}
	if listErr == nil {
		if err := p.readDocker(list); err != nil {
			return nil, err
		}
	}
	if len(p.images) == 0 {
		if len(p.other) > 0 {
			return nil, fmt.Errorf("the archive has no image for %s, but for %s", p.wanted(), strings.Join(p.other, ", "))
		}
		return nil, errors.New("there is no image in the archive")
	}
	return p, nil
}

func (p *plan) wanted() platform.Platform {
	w, _ := platform.Parse(p.want) // checked by makePlan
	return w
}

// add notes an image once, with all its names.
func (p *plan) add(img *planned) error {
	if len(img.layers) > maxLayers {
		return fmt.Errorf("image %s has %d layers", img.id, len(img.layers))
	}
	if p.names += len(img.names); p.names > maxNames {
		return fmt.Errorf("the archive has more than %d names", maxNames)
	}
	for _, old := range p.images {
		if old.id == img.id {
			for _, n := range img.names {
				if !slices.Contains(old.names, n) {
					old.names = append(old.names, n)
				}
			}
			return nil
		}
	}
	if p.images = append(p.images, img); len(p.images) > maxImages {
		return fmt.Errorf("the archive has more than %d images", maxImages)
	}
	return nil
}

// blob returns a document that a digest leads to.
func (p *plan) blob(digest string) ([]byte, error) {
	hex, ok := store.Hex(digest)
	if !ok {
		return nil, fmt.Errorf("the archive names %q, which is not a sha256 digest", digest)
	}
	b, err := p.docs.document(blobFolder + hex)
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", digest, err)
	}
	if got := store.Digest(b); got != digest {
		return nil, fmt.Errorf("blob %s of the archive is damaged: its digest is %s", digest, got)
	}
	return b, nil
}

// readIndex takes in what an index lists. Names are those of the entry that
// led to it.
func (p *plan) readIndex(b []byte, depth int, names []string) error {
	if depth > maxDepth {
		return errors.New("the indexes in the archive are nested too deeply")
	}
	var ix struct{ Manifests []store.Descriptor }
	if err := json.Unmarshal(b, &ix); err != nil {
		return fmt.Errorf("an index of the archive is not valid: %w", err)
	}
	if len(ix.Manifests) > maxImages {
		return fmt.Errorf("an index of the archive lists %d images", len(ix.Manifests))
	}
	var here []*planned
	for _, d := range ix.Manifests {
		if d.Annotations[annotationKind] != "" || d.Platform != nil && d.Platform.OS == "unknown" {
			continue // an attestation
		}
		own := names
		if depth == 0 {
			own = namesOf(d)
		}
		b, err := p.blob(d.Digest)
		if errors.Is(err, errNoDocument) && depth > 0 {
			continue // one of the platforms, which was not saved
		}
		if err != nil {
			return err
		}
		if isIndex(d.MediaType, b) {
			if err := p.readIndex(b, depth+1, own); err != nil {
				return err
			}
			continue
		}
		img, err := p.readManifest(d, b)
		if err != nil {
			return err
		}
		img.names = own
		here = append(here, img)
	}
	return p.choose(here, depth > 0)
}

// namesOf returns the full names in the annotations of a descriptor. A bare
// word is a tag without a repository, which is no name.
func namesOf(d store.Descriptor) []string {
	for _, key := range []string{annotationFullName, annotationRefName} {
		text := d.Annotations[key]
		if !strings.ContainsAny(text, ":/") {
			continue
		}
		if r, err := ref.Parse(text); err == nil && (r.Digest == "" || r.Digest == d.Digest) {
			return []string{r.String()}
		}
	}
	return nil
}

// isIndex tells an index from a manifest.
func isIndex(mediaType string, b []byte) bool {
	switch mediaType {
	case store.MediaTypeIndex, "application/vnd.docker.distribution.manifest.list.v2+json":
		return true
	case store.MediaTypeManifest, store.MediaTypeDockerManifest:
		return false
	}
	var both struct{ Manifests, Layers json.RawMessage }
	return json.Unmarshal(b, &both) == nil && both.Manifests != nil && both.Layers == nil
}

// readManifest reads a manifest with its configuration.
func (p *plan) readManifest(d store.Descriptor, b []byte) (*planned, error) {
	var m store.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("manifest %s of the archive is not valid: %w", d.Digest, err)
	}
	config, err := p.blob(m.Config.Digest)
	if err != nil {
		return nil, err
	}
	img := &planned{id: m.Config.Digest, config: config, manifest: b, mediaType: d.MediaType}
	ids, err := store.DiffIDs(config)
	if err != nil {
		return nil, err
	}
	if len(ids) != len(m.Layers) {
		return nil, fmt.Errorf("image %s has %d layers, but its manifest lists %d", img.id, len(ids), len(m.Layers))
	}
	for i, l := range m.Layers {
		hex, ok := store.Hex(l.Digest)
		if !ok {
			return nil, fmt.Errorf("manifest %s lists the layer %q, which is not a sha256 digest", d.Digest, l.Digest)
		}
		img.layers = append(img.layers, planLayer{diffID: ids[i], file: blobFolder + hex, desc: l})
	}
	return img, nil
}

// readDocker takes in a manifest.json.
func (p *plan) readDocker(b []byte) error {
	var list []dockerImage
	if err := json.Unmarshal(b, &list); err != nil {
		return fmt.Errorf("manifest.json of the archive is not valid: %w", err)
	}
	if len(list) > maxImages {
		return fmt.Errorf("manifest.json of the archive lists %d images", len(list))
	}
	var here []*planned
	for _, d := range list {
		img, err := p.dockerImage(d)
		if err != nil {
			return err
		}
		here = append(here, img)
	}
	return p.choose(here, false)
}

func (p *plan) dockerImage(d dockerImage) (*planned, error) {
	name, err := cleanName(d.Config)
	if err != nil {
		return nil, err
	}
	config, err := p.docs.document(name)
	if err != nil {
		return nil, fmt.Errorf("configuration %q: %w", d.Config, err)
	}
	img := &planned{id: store.Digest(config), config: config}
	if hex, ok := strings.CutPrefix(name, blobFolder); ok && "sha256:"+hex != img.id {
		return nil, fmt.Errorf("blob sha256:%s of the archive is damaged: its digest is %s", hex, img.id)
	}
	ids, err := store.DiffIDs(config)
	if err != nil {
		return nil, err
	}
	if len(ids) != len(d.Layers) {
		return nil, fmt.Errorf("image %s has %d layers, but manifest.json lists %d", img.id, len(ids), len(d.Layers))
	}
	for i, l := range d.Layers {
		file, err := cleanName(l)
		if err != nil {
			return nil, err
		}
		img.layers = append(img.layers, planLayer{diffID: ids[i], file: file})
	}
	for _, t := range d.RepoTags {
		r, err := ref.Parse(t)
		if err != nil || r.IsDigested() {
			return nil, fmt.Errorf("manifest.json of the archive gives an image the name %q, which is none", t)
		}
		img.names = append(img.names, r.String())
	}
	return img, nil
}

// choose adds those of the images that are wanted. Of several that are one
// image for several platforms it is one: for what was asked for, else for this
// machine, else the only one there is.
func (p *plan) choose(images []*planned, variants bool) error {
	best, bestFit := -1, 0
	for i, img := range images {
		have, err := platformOf(img)
		if err != nil {
			return err
		}
		fit := p.wanted().Fit(have)
		if fit == 0 && (p.want != "" || variants && len(images) > 1) {
			if !slices.Contains(p.other, have.String()) {
				p.other = append(p.other, have.String())
			}
			continue
		}
		if !variants {
			if err := p.add(img); err != nil {
				return err
			}
		} else if fit > bestFit || best < 0 {
			best, bestFit = i, fit
		}
	}
	if best < 0 {
		return nil
	}
	return p.add(images[best])
}

func platformOf(img *planned) (platform.Platform, error) {
	var c store.Platform
	if err := json.Unmarshal(img.config, &c); err != nil {
		return platform.Platform{}, fmt.Errorf("configuration of image %s is not valid: %w", img.id, err)
	}
	if c.OS == "" { // of images older than the field
		c.OS = platform.Host().OS
	}
	if c.Architecture == "" {
		return platform.Host(), nil
	}
	return platform.New(c.OS, c.Architecture, c.Variant), nil
}

// cleanName makes the names that mean one file of an archive one. They are only
// looked up, never used as paths; one that climbs is refused all the same.
func cleanName(name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("the archive has the name %q, which leads out of it", name)
		}
	}
	return path.Clean("/" + name)[1:], nil
}
