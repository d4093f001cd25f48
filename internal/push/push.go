package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"berth/internal/errdef"
	"berth/internal/images"
	"berth/internal/layer"
	"berth/internal/registry"
	"berth/internal/registry/platform"
	"berth/internal/registry/ref"
	"berth/internal/store"
)

// Pusher pushes images of a store.
type Pusher struct{ opt registry.Options }

// New returns a pusher that reaches registries as opt says.
func New(opt registry.Options) *Pusher { return &Pusher{opt: opt} }

// Push sends what opt names.
func (p *Pusher) Push(ctx context.Context, s *store.Store, opt images.PushOptions) (images.PushResult, error) {
	r, err := ref.ParseName(opt.Ref)
	if err != nil {
		return images.PushResult{}, &errdef.Error{Kind: errdef.ErrInvalid, Text: err.Error()}
	}
	switch {
	case r.Digest != "":
		return images.PushResult{}, &errdef.Error{Kind: errdef.ErrInvalid, Text: "cannot push a digest reference"}
	case opt.AllTags && r.Tag != "":
		return images.PushResult{}, &errdef.Error{Kind: errdef.ErrInvalid, Text: "tag can't be used with --all-tags/-a"}
	case !opt.AllTags && r.Tag == "":
		r.Tag = ref.DefaultTag
	}
	want, err := platform.Parse(opt.Platform)
	if err != nil {
		return images.PushResult{}, &errdef.Error{Kind: errdef.ErrInvalid, Text: err.Error()}
	}
	client, err := registry.New(p.opt)
	if err != nil {
		return images.PushResult{}, &errdef.Error{Kind: errdef.ErrInvalid, Text: err.Error()}
	}
	defer client.Close()
	j := &job{client: client, store: s, layers: layer.Open(s.Dir()), progress: opt.Progress, sent: map[string]store.Descriptor{}, lost: map[string]error{}, packing: make(chan struct{}, maxPacking)}
	if opt.Platform != "" {
		j.platform = &want
	}
	if j.progress == nil {
		j.progress = silent{}
	}
	res, err := j.push(ctx, r, opt.AllTags)
	return res, classify(err)
}

// job is one push.
type job struct {
	client   *registry.Client
	store    *store.Store
	layers   *layer.Set
	platform *platform.Platform // that images must be for
	progress images.Progress
	forms    *forms
	packing  chan struct{} // bounds the layers that are packed at once

	mu   sync.Mutex
	sent map[string]store.Descriptor // what the repository has by now, by diff ID
	lost map[string]error            // registries that cannot be reached, by name
}

// push sends the image r, or all images of r's repository.
func (j *job) push(ctx context.Context, r ref.Ref, all bool) (images.PushResult, error) {
	refs := []ref.Ref{r}
	if all {
		var err error
		if refs, err = j.tags(r); err != nil {
			return images.PushResult{}, err
		}
	}
	found := make([]store.Image, len(refs))
	var needed []string
	for i, r := range refs {
		var err error
		if found[i], err = j.find(r); err != nil {
			return images.PushResult{}, err
		}
		needed = append(needed, found[i].Layers...)
	}
	lease, err := j.store.Lease(needed)
	if err != nil {
		return images.PushResult{}, err
	}
	defer lease.Close()
	if j.forms, err = gather(j.store); err != nil {
		return images.PushResult{}, err
	}
	j.progress.Message("The push refers to repository [" + r.Name() + "]")
	var res images.PushResult
	for i, r := range refs {
		if res, err = j.image(ctx, r, found[i]); err != nil {
			return images.PushResult{}, err
		}
	}
	if all {
		res.Ref = r.Name()
	}
	return res, nil
}

// absent says in Docker's words that there is nothing to push under any tag.
func absent(r ref.Ref) error {
	return &errdef.Error{Kind: errdef.ErrNotFound, Text: "An image does not exist locally with the tag: " + r.FamiliarName()}
}

// tags returns the names that the store has in r's repository.
func (j *job) tags(r ref.Ref) ([]ref.Ref, error) {
	images, err := j.store.Images()
	if err != nil {
		return nil, err
	}
	var out []ref.Ref
	for _, img := range images {
		for _, name := range img.Names {
			if n, err := ref.Parse(name); err == nil && n.Name() == r.Name() {
				out = append(out, n)
			}
		}
	}
	if len(out) == 0 {
		return nil, absent(r)
	}
	slices.SortFunc(out, func(a, b ref.Ref) int { return bytes.Compare([]byte(a.Tag), []byte(b.Tag)) })
	return out, nil
}

func (j *job) find(r ref.Ref) (store.Image, error) {
	img, err := j.store.Find(r.String())
	if errors.Is(err, store.ErrNotFound) {
		if _, err := j.tags(r); err != nil {
			return img, err
		}
		return img, &errdef.Error{Kind: errdef.ErrNotFound, Text: "tag does not exist: " + r.Familiar()}
	}
	if err != nil || j.platform == nil {
		return img, err
	}
	p := img.Platform()
	if have := platform.New(p.OS, p.Architecture, p.Variant); j.platform.Fit(have) == 0 {
		return img, &errdef.Error{Kind: errdef.ErrNotFound, Text: fmt.Sprintf("image with reference %s was found but does not provide the specified platform (%s): it is for %s", r.Familiar(), j.platform, have)}
	}
	return img, nil
}

// image sends one image: its layers, its configuration, its manifest.
func (j *job) image(ctx context.Context, r ref.Ref, img store.Image) (images.PushResult, error) {
	dst, err := j.client.Target(r)
	if err != nil {
		return images.PushResult{}, err
	}
	config, err := j.store.Get(img.ID)
	if err != nil {
		return images.PushResult{}, err
	}
	base, err := j.base(r, img)
	if err != nil {
		return images.PushResult{}, err
	}
	repacked, err := j.all(ctx, dst, r, img, base)
	if err != nil {
		return images.PushResult{}, err
	}
	v, err := j.manifest(img, base)
	if err != nil {
		return images.PushResult{}, err
	}
	if err := sendConfig(ctx, dst, img.ID, config); err != nil {
		return images.PushResult{}, err
	}
	digest, err := dst.PutManifest(ctx, v.doc.MediaType, v.raw)
	if err != nil {
		return images.PushResult{}, err
	}
	if repacked > 0 {
		j.progress.Message(fmt.Sprintf("%d of %d layers were packed anew, as nobody has them as they came: the image has another digest", repacked, len(img.Layers)))
	}
	j.progress.Message(fmt.Sprintf("%s: digest: %s size: %d", r.Tag, digest, len(v.raw)))
	_, err = j.store.Add(store.Addition{
		Names: []string{r.WithDigest(digest).String()}, MediaType: v.doc.MediaType, Manifest: v.raw, Config: config,
	})
	return images.PushResult{Ref: r.String(), Digest: digest, Size: int64(len(v.raw))}, err
}

// base returns the manifest to push if that can be: the one that the
// repository has had already, else the newest.
func (j *job) base(r ref.Ref, img store.Image) (version, error) {
	versions := j.forms.versions[img.ID]
	if len(versions) == 0 {
		return version{}, fmt.Errorf("cannot push %s: its manifest is not in the store or does not fit its configuration: remove the image and pull it again", r.Familiar())
	}
	for _, v := range versions {
		if slices.Contains(img.RepoDigests, r.WithDigest(store.Digest(v.raw)).String()) {
			return v, nil
		}
	}
	return versions[0], nil
}

// manifest returns the manifest that names the layers as they were sent: one
// that the store has, byte for byte, if one does.
func (j *job) manifest(img store.Image, base version) (version, error) {
	layers := make([]store.Descriptor, len(img.Layers))
	for i, id := range img.Layers {
		layers[i] = j.sent[id]
	}
	same := func(v version) bool {
		return slices.EqualFunc(v.doc.Layers, layers, func(a, b store.Descriptor) bool { return a.Digest == b.Digest })
	}
	for _, v := range append([]version{base}, j.forms.versions[img.ID]...) {
		if same(v) {
			return v, nil
		}
	}
	return remade(base, layers)
}

// sendConfig sends an image configuration.
func sendConfig(ctx context.Context, dst *registry.Target, id string, config []byte) error {
	there, err := dst.Has(ctx, id)
	if err != nil || there {
		return err
	}
	_, err = dst.Upload(ctx, id, func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(config)), nil
	}, func(int64) {})
	return err
}

// silent is the progress nobody wants to hear of.
type silent struct{}

func (silent) Message(string)                     {}
func (silent) Layer(string, string, int64, int64) {}
