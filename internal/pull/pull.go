package pull

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"berth/internal/download"
	"berth/internal/errdef"
	"berth/internal/images"
	"berth/internal/inflate"
	"berth/internal/layer"
	"berth/internal/registry"
	"berth/internal/registry/platform"
	"berth/internal/registry/ref"
	"berth/internal/store"
)

// Puller pulls images into a store.
type Puller struct{ opt registry.Options }

// New returns a puller that reaches registries as opt says.
func New(opt registry.Options) *Puller { return &Puller{opt: opt} }

// Pull fetches what opt names and lists it in s. On error nothing new is
// listed.
func (p *Puller) Pull(ctx context.Context, s *store.Store, opt images.PullOptions) (images.PullResult, error) {
	r, err := ref.ParseName(opt.Ref)
	if err != nil {
		return images.PullResult{}, invalid(err)
	}
	if _, err := platform.Parse(opt.Platform); err != nil {
		return images.PullResult{}, invalid(err)
	}
	client, err := registry.New(p.opt)
	if err != nil {
		return images.PullResult{}, invalid(err)
	}
	defer client.Close()
	j := &job{client: client, store: s, layers: layer.OpenKind(s.Dir(), cmp.Or(opt.Kind, store.Plain), nil), platform: opt.Platform, keep: opt.KeepBlobs, progress: opt.Progress,
		limit: download.NewLimit(connections, connectionsPerLayer), gate: inflate.NewGate(runtime.GOMAXPROCS(0))}
	if j.progress == nil {
		j.progress = silent{}
	}
	var res images.PullResult
	if opt.AllTags {
		res, err = j.allTags(ctx, r)
	} else {
		if r.Tag == "" && r.Digest == "" {
			r.Tag = ref.DefaultTag
		}
		res, err = j.image(ctx, r)
	}
	if err != nil {
		return images.PullResult{}, classify(err)
	}
	return res, nil
}

// job is one pull.
type job struct {
	client   *registry.Client
	store    *store.Store
	layers   *layer.Set
	platform string
	keep     bool // the packed layers too
	progress images.Progress

	limit *download.Limit // connections of all layers
	gate  *inflate.Gate   // cores of all layers
}

// allTags pulls every tag of a repository.
func (j *job) allTags(ctx context.Context, r ref.Ref) (images.PullResult, error) {
	if r.Tag != "" || r.Digest != "" {
		return images.PullResult{}, invalid(errors.New("tag can't be used with --all-tags/-a"))
	}
	tags, err := j.client.Tags(ctx, r)
	if err != nil {
		return images.PullResult{}, err
	}
	if len(tags) == 0 {
		return images.PullResult{}, &errdef.Error{Kind: errdef.ErrNotFound, Text: fmt.Sprintf("repository %s has no tags", r.FamiliarName())}
	}
	slices.Sort(tags)
	all := images.PullResult{UpToDate: true}
	for i, tag := range tags {
		if i > 0 {
			j.progress.Message("Digest: " + all.Digest)
		}
		tagged, err := r.WithTag(tag)
		if err != nil {
			return images.PullResult{}, invalid(err)
		}
		one, err := j.image(ctx, tagged)
		if err != nil {
			return images.PullResult{}, err
		}
		all.Digest, all.ImageID = one.Digest, one.ImageID
		all.UpToDate = all.UpToDate && one.UpToDate
	}
	all.Ref = r.Name()
	return all, nil
}

// image pulls what r names.
func (j *job) image(ctx context.Context, r ref.Ref) (images.PullResult, error) {
	if r.Digest != "" {
		r.Tag = "" // the digest decides
	}
	old, err := j.store.Find(r.String())
	have := err == nil && j.usable(old)
	if have {
		digest, err := j.currentDigest(ctx, r)
		if err != nil {
			return images.PullResult{}, err
		}
		if digest != "" && slices.Contains(old.RepoDigests, r.WithDigest(digest).String()) {
			j.announce(r)
			return images.PullResult{Ref: r.String(), Digest: digest, ImageID: old.ID, UpToDate: true}, nil
		}
	}
	img, err := j.client.Resolve(ctx, r, j.platform)
	if err != nil {
		return images.PullResult{}, err
	}
	j.announce(r)
	if err := j.fetch(ctx, r, img); err != nil {
		return images.PullResult{}, err
	}
	return images.PullResult{
		Ref: r.String(), Digest: img.Digest, ImageID: img.ConfigDesc.Digest,
		UpToDate: have && old.ID == img.ConfigDesc.Digest,
	}, nil
}

// announce is the first line of Docker's output. It comes when the image is
// known to exist.
func (j *job) announce(r ref.Ref) {
	what := r.Tag
	if r.Digest != "" {
		what = r.Digest
	}
	j.progress.Message(what + ": Pulling from " + r.Path)
}

// usable reports whether a listed image is whole and of the platform that is
// wanted.
func (j *job) usable(img store.Image) bool {
	want, err := platform.Parse(j.platform)
	p := img.Platform()
	if err != nil || p.Architecture != "" && want.Fit(platform.New(p.OS, p.Architecture, p.Variant)) == 0 {
		return false
	}
	for _, id := range img.Layers {
		if !j.there(id) {
			return false
		}
	}
	return !j.keep || j.keptOf(img)
}

// there reports whether a layer is there, of whichever kind: what has other
// owners than it should is made again from that, when a container needs it.
func (j *job) there(diffID string) bool {
	_, err := j.layers.Find(diffID)
	return err == nil
}

// keptOf reports whether the packed layers of a listed image are there.
func (j *job) keptOf(img store.Image) bool {
	raw, err := j.store.Get(img.ManifestDigest)
	var m store.Manifest
	if err != nil || json.Unmarshal(raw, &m) != nil {
		return false
	}
	return !slices.ContainsFunc(m.Layers, func(d store.Descriptor) bool { return !j.kept(d.Digest) })
}

// currentDigest asks what a name stands for now. It is empty when the answer
// can only be had by fetching it. What a digest names never changes, so that
// needs no asking.
func (j *job) currentDigest(ctx context.Context, r ref.Ref) (string, error) {
	if r.Digest != "" {
		return r.Digest, nil
	}
	digest, err := j.client.Head(ctx, r)
	if err == nil || ctx.Err() == nil && !errors.Is(err, registry.ErrUnreachable) {
		return digest, nil // what is wrong is said better in the answer to a GET
	}
	return "", err
}

// silent is the progress nobody wants to hear of.
type silent struct{}

func (silent) Message(string)                     {}
func (silent) Layer(string, string, int64, int64) {}
