package images

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"

	"berth/internal/archive"
	"berth/internal/errdef"
	"berth/internal/hello"
	"berth/internal/registry/ref"
	"berth/internal/roster"
	"berth/internal/store"
)

// noImage is the answer for an image that is not there, in the words Docker
// uses: the name with the tag it stands for.
func noImage(text string) error {
	name := text
	if r, err := ref.Parse(text); err == nil {
		name = r.Familiar()
	} else if !roster.IsHex(strings.TrimPrefix(text, "sha256:")) {
		return &errdef.Error{Kind: errdef.ErrInvalid, Text: err.Error()}
	}
	return &errdef.Error{Kind: errdef.ErrNotFound, Text: "No such image: " + name}
}

// imageError words what the store answers about an image.
func imageError(text string, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return noImage(text)
	case errors.Is(err, store.ErrAmbiguous), errors.Is(err, store.ErrFilter):
		return &errdef.Error{Kind: errdef.ErrInvalid, Text: err.Error()}
	}
	var other *archive.PlatformError
	if errors.As(err, &other) {
		return &errdef.Error{Kind: errdef.ErrNotFound, Text: err.Error()}
	}
	return err
}

// Find returns the image that text names.
func (s *Set) Find(text string) (store.Image, error) {
	img, err := s.store.Find(text)
	if err != nil {
		return img, imageError(text, err)
	}
	return img, nil
}

// Policies of getting the image of a new container.
const (
	pullMissing = "missing"
	pullAlways  = "always"
	pullNever   = "never"
)

// For returns the image for a new container and pulls it if it must.
func (s *Set) For(ctx context.Context, name, platformName, policy string, progress Progress) (store.Image, error) {
	switch policy {
	case "", pullMissing, pullAlways, pullNever:
	default:
		return store.Image{}, &errdef.Error{Kind: errdef.ErrInvalid, Text: fmt.Sprintf("invalid pull option: '%s': must be one of %q, %q or %q", policy, pullAlways, pullMissing, pullNever)}
	}
	if isHello(name) {
		return s.ensureHello(ctx)
	}
	if policy != pullAlways {
		img, err := s.usableImage(name, platformName)
		if st, _ := s.inShared(name); st != nil && errors.Is(err, errdef.ErrNotFound) {
			img, err = s.fromShared(ctx, name, platformName, progress)
		}
		if err == nil || policy == pullNever || !errors.Is(err, errdef.ErrNotFound) {
			return img, err
		}
	}
	if _, err := ref.Parse(name); err != nil {
		return store.Image{}, noImage(name)
	}
	res, err := s.Pull(ctx, PullOptions{Ref: name, Platform: platformName, Progress: progress})
	if err != nil {
		return store.Image{}, err
	}
	if progress != nil {
		progress.Message("Digest: " + res.Digest)
		progress.Message("Status: " + pullStatus(res))
	}
	return s.Find(res.ImageID)
}

func pullStatus(res PullResult) string {
	name := res.Ref
	if r, err := ref.Parse(res.Ref); err == nil {
		name = r.Familiar()
	}
	if res.UpToDate {
		return "Image is up to date for " + name
	}
	return "Downloaded newer image for " + name
}

// usableImage returns the image name if it is whole and fits the platform
// asked for. An image whose layers were removed by hand counts as missing, so
// that it is pulled again.
func (s *Set) usableImage(name, platformName string) (store.Image, error) {
	img, err := s.on(name, platformName)
	if err != nil {
		return img, err
	}
	if err := s.Layers().Whole(img.Layers); err != nil {
		return img, &errdef.Error{Kind: errdef.ErrNotFound, Text: fmt.Sprintf("image %s is not whole: %v", name, err)}
	}
	return img, nil
}

// Pull brings an image from its registry.
func (s *Set) Pull(ctx context.Context, opt PullOptions) (PullResult, error) {
	if isHello(opt.Ref) {
		img, err := s.ensureHello(ctx)
		return PullResult{Ref: hello.Name, Digest: img.ManifestDigest, ImageID: img.ID, UpToDate: true}, err
	}
	if s.Remote == nil {
		return PullResult{}, &errdef.Error{Kind: errdef.ErrNotSupported, Text: fmt.Sprintf("cannot pull %s: this program has no registry client", opt.Ref)}
	}
	opt.KeepBlobs = opt.KeepBlobs || s.KeepBlobs
	err := s.takeCurrent(ctx, opt)
	if err != nil {
		return PullResult{}, err
	}
	opt.Kind = s.Layers().Kind()
	if opt.Namespace, err = s.namespace(opt.Kind); err != nil {
		return PullResult{}, err
	}
	res, err := s.Remote.Pull(ctx, s.store, opt)
	if err == nil {
		s.note(events.ActionPull, FamiliarName(res.Ref), repositoryName(res.Ref))
	}
	return res, err
}

// Inspect describes an image.
func (s *Set) Inspect(ctx context.Context, text string) (image.InspectResponse, error) {
	img, size, err := s.look(text)
	if err != nil {
		return image.InspectResponse{}, err
	}
	c := &img.Config
	out := image.InspectResponse{
		ID: img.ID, RepoTags: Familiar(img.Names), RepoDigests: Familiar(img.RepoDigests),
		Author: c.Author, Config: &c.Config,
		Architecture: c.Architecture, Variant: c.Variant, Os: c.OS, OsVersion: c.OSVersion,
		Size: size, GraphDriver: s.imageDriver(img),
		RootFS:   image.RootFS{Type: "layers", Layers: img.Layers},
		Metadata: image.Metadata{LastTagTime: img.Tagged},
	}
	if !img.Created.IsZero() {
		out.Created = img.Created.Format(time.RFC3339Nano)
	}
	if n := len(c.History); n > 0 {
		out.Comment = c.History[n-1].Comment
	}
	return out, nil
}

// imageDriver tells where the files of an image lie.
func (s *Set) imageDriver(img store.Image) *storage.DriverData {
	d := &storage.DriverData{Name: s.Driver(), Data: map[string]string{}}
	if trees, err := s.Layers().Stack(img.Layers); err == nil && len(trees) > 0 {
		d.Data["UpperDir"] = trees[0]
		if len(trees) > 1 {
			d.Data["LowerDir"] = strings.Join(trees[1:], ":")
		}
	}
	return d
}

// Familiar writes full names the way people do.
func Familiar(names []string) []string {
	out := make([]string, 0, len(names))
	for _, n := range names {
		out = append(out, FamiliarName(n))
	}
	return out
}

func FamiliarName(name string) string {
	if r, err := ref.Parse(name); err == nil {
		return r.Familiar()
	}
	return name
}

// repositoryName is a name without its tag and digest, the way people write it.
func repositoryName(name string) string {
	name, _, _ = strings.Cut(FamiliarName(name), "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name
}

// History tells how an image was made, the latest step first.
func (s *Set) History(ctx context.Context, text string) ([]image.HistoryResponseItem, error) {
	img, _, err := s.look(text)
	if err != nil {
		return nil, err
	}
	var out []image.HistoryResponseItem
	layers := img.Layers
	for _, h := range img.Config.History {
		item := image.HistoryResponseItem{ID: "<missing>", Comment: h.Comment, CreatedBy: h.CreatedBy}
		if h.Created != nil {
			item.Created = h.Created.Unix()
		}
		if !h.EmptyLayer && len(layers) > 0 {
			item.Size = s.layersSize(layers[:1])
			layers = layers[1:]
		}
		out = append([]image.HistoryResponseItem{item}, out...)
	}
	for _, l := range layers { // of which the image tells nothing
		out = append([]image.HistoryResponseItem{{ID: "<missing>", Size: s.layersSize([]string{l})}}, out...)
	}
	if len(out) > 0 {
		out[0].ID, out[0].Tags = img.ID, Familiar(img.Names)
	}
	return out, nil
}

// Tag gives an image one more name. If another has that name, it loses it.
func (s *Set) Tag(ctx context.Context, src, dst string) error {
	r, err := ref.Parse(dst)
	if err != nil {
		return &errdef.Error{Kind: errdef.ErrInvalid, Text: fmt.Sprintf("error parsing reference: %q is not a valid repository/tag: %v", dst, err)}
	}
	if r.IsDigested() {
		return &errdef.Error{Kind: errdef.ErrInvalid, Text: "refusing to create a tag with a digest reference"}
	}
	if isHello(src) {
		if _, err := s.ensureHello(ctx); err != nil {
			return err
		}
	}
	if err := s.take(ctx, src); err != nil {
		return err
	}
	hold, err := s.store.Hold()
	if err != nil {
		return err
	}
	defer hold.Unlock()
	img, err := s.Find(src)
	if err != nil {
		return err
	}
	if err := s.store.Tag(r.String(), store.Descriptor{Digest: img.ManifestDigest}); err != nil {
		return err
	}
	s.note(events.ActionTag, img.ID, r.Familiar())
	return nil
}
