package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"

	"berth/internal/registry/platform"
	"berth/internal/registry/ref"
)

const (
	maxManifest = 8 << 20 // registries must take 4 MiB
	maxConfig   = 16 << 20
	maxNesting  = 3 // lists within lists
)

// Image is what a name stands for on one platform: all but the layers'
// content.
type Image struct {
	Digest       string     // of the document that the name stands for: the manifest or a list it is in
	Manifest     []byte     // of the image
	ManifestDesc Descriptor // its digest, size and type
	Config       []byte
	ConfigDesc   Descriptor
	Layers       []Descriptor // bottom first
	DiffIDs      []string     // of the layers uncompressed, in the same order
	Platform     platform.Platform
}

// Resolve finds out what r stands for, for the platform written as
// os/arch[/variant], or the host's when that is empty. All of the answer is
// verified against r's digest, or against the one that the tag has now.
func (c *Client) Resolve(ctx context.Context, r ref.Ref, wanted string) (*Image, error) {
	want, err := platform.Parse(wanted)
	if err != nil {
		return nil, fail(ErrUnsupported, err, "%v", err)
	}
	var img *Image
	err = c.each(ctx, r.Domain, func(ep *endpoint) error {
		img, err = ep.resolve(ctx, r, want)
		return err
	})
	if err != nil {
		return nil, err
	}
	if wanted != "" && want.Fit(img.Platform) == 0 {
		return nil, fail(ErrNotFound, nil, "image %s was found but does not match the platform: wanted %s, has %s", r.Familiar(), want, img.Platform)
	}
	return img, nil
}

// Head asks for the digest of what r stands for now, without fetching it. It
// is empty when the registry does not say.
func (c *Client) Head(ctx context.Context, r ref.Ref) (digest string, err error) {
	err = c.each(ctx, r.Domain, func(ep *endpoint) error {
		resp, err := ep.do(ctx, call{
			method: http.MethodHead,
			path:   r.Path + "/manifests/" + target(r),
			scope:  pullScope(r.Path),
			header: map[string]string{"Accept": acceptManifests},
		})
		if err != nil {
			return ep.missing(r, err)
		}
		defer resp.Body.Close()
		digest = resp.Header.Get("Docker-Content-Digest")
		if ref.CheckDigest(digest) != nil {
			digest = ""
		}
		return nil
	})
	return digest, err
}

// target is the last part of a manifest's address.
func target(r ref.Ref) string {
	if r.Digest != "" {
		return r.Digest
	}
	return r.Tag
}

func (ep *endpoint) resolve(ctx context.Context, r ref.Ref, want platform.Platform) (*Image, error) {
	doc, desc, raw, err := ep.document(ctx, r, -1)
	if err != nil {
		return nil, err
	}
	img := &Image{Digest: desc.Digest}
	for depth := 0; doc.isList(); depth++ {
		e, ok := doc.choose(want)
		if !ok || depth == maxNesting {
			return nil, fail(ErrNotFound, nil, "no matching manifest for %s in the manifest list entries of %s: has %s", want, r.Familiar(), doc.offers())
		}
		if err := e.check(); err != nil {
			return nil, fail(ErrUnsupported, err, "cannot use image %s: its manifest list is not valid: %v", r.Familiar(), err)
		}
		if doc, desc, raw, err = ep.document(ctx, r.WithDigest(e.Digest), e.Size); err != nil {
			return nil, err
		}
	}
	if err := doc.checkImage(); err != nil {
		return nil, fail(ErrUnsupported, err, "cannot use image %s: %v", r.Familiar(), err)
	}
	img.Manifest, img.ManifestDesc, img.ConfigDesc, img.Layers = raw, desc, *doc.Config, doc.Layers
	if img.Config, err = ep.config(ctx, r, img.ConfigDesc); err != nil {
		return nil, err
	}
	cfg, err := parseConfig(img.Config, len(img.Layers))
	if err != nil {
		return nil, fail(ErrUnsupported, err, "cannot use image %s: %v", r.Familiar(), err)
	}
	img.DiffIDs, img.Platform = cfg.RootFS.DiffIDs, cfg.platform()
	return img, nil
}

// document fetches a manifest or list and verifies it. A size that is not
// negative is what it must have.
func (ep *endpoint) document(ctx context.Context, r ref.Ref, size int64) (*document, Descriptor, []byte, error) {
	resp, err := ep.do(ctx, call{
		method: http.MethodGet,
		path:   r.Path + "/manifests/" + target(r),
		scope:  pullScope(r.Path),
		header: map[string]string{"Accept": acceptManifests},
	})
	if err != nil {
		return nil, Descriptor{}, nil, ep.missing(r, err)
	}
	defer resp.Body.Close()
	raw, err := readAll(resp.Body, maxManifest)
	if err != nil {
		if ctx.Err() != nil {
			return nil, Descriptor{}, nil, ctx.Err()
		}
		return nil, Descriptor{}, nil, fail(ErrRegistry, err, "cannot read the manifest of %s from %s: %s", r.Familiar(), ep.label(), ep.reading(err))
	}
	desc := Descriptor{Digest: digestOf(raw), Size: int64(len(raw))}
	promised := r.Digest
	if promised == "" {
		// The registry's own word guards against a damaged answer.
		if promised = resp.Header.Get("Docker-Content-Digest"); ref.CheckDigest(promised) != nil {
			promised = desc.Digest
		}
	}
	if desc.Digest != promised || size >= 0 && size != desc.Size {
		return nil, desc, nil, fail(ErrDigest, nil, "manifest of %s from %s is not what it should be: got %s (%d bytes), want %s", r.Familiar(), ep.label(), desc.Digest, desc.Size, promised)
	}
	doc, err := parseDocument(raw, resp.Header.Get("Content-Type"))
	if err != nil {
		return nil, desc, nil, fail(ErrUnsupported, err, "cannot use image %s: %v", r.Familiar(), err)
	}
	desc.MediaType = doc.MediaType
	return doc, desc, raw, nil
}

func (ep *endpoint) config(ctx context.Context, r ref.Ref, d Descriptor) ([]byte, error) {
	if d.Size > maxConfig {
		return nil, fail(ErrUnsupported, nil, "cannot use image %s: its configuration has %d bytes, more than the %d that are allowed", r.Familiar(), d.Size, maxConfig)
	}
	b, err := ep.client.openBlob(ctx, []*endpoint{ep}, r, d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return readAll(b, maxConfig)
}

// missing says in Docker's words why something of r could not be had.
func (ep *endpoint) missing(r ref.Ref, err error) error {
	var se *statusError
	if !errors.As(err, &se) {
		return err
	}
	switch {
	case se.code == http.StatusUnauthorized, se.code == http.StatusForbidden, se.is("DENIED") && se.code < 500:
		return ep.client.denied(r, ep.auth.why(deniedCause(se)))
	case se.code == http.StatusTooManyRequests:
		return fail(ErrRegistry, se, "%s has had too many requests from here: %s", se.who, ep.tooMany(se))
	case se.atDoor:
		return fail(ErrRegistry, se, "%v", se)
	case se.code == http.StatusNotFound && se.is("NAME_UNKNOWN"):
		return fail(ErrNotFound, se, "repository %s not found: does not exist or no pull access", r.FamiliarName())
	case se.code == http.StatusNotFound:
		return fail(ErrNotFound, se, "manifest for %s not found: manifest unknown", r.Familiar())
	}
	return fail(ErrRegistry, se, "%v", se)
}

func deniedCause(se *statusError) error {
	switch {
	case se.message != "":
		return errors.New(se.message)
	case se.code == http.StatusUnauthorized:
		return errors.New("unauthorized")
	}
	return errors.New("denied")
}

// tooMany explains a limit. Docker Hub counts the pulls of an address where it
// knows no account, so whole companies and clusters share one allowance.
func (ep *endpoint) tooMany(se *statusError) string {
	s := se.message
	if s == "" {
		s = "it allows only so many in a time"
	}
	if se.waited {
		s += fmt.Sprintf(" (it asks to wait %v)", se.wait)
	}
	login := ep.client.opt.Program + " login"
	if server := ep.auth.server; server != ref.DefaultDomain {
		login += " " + server
	}
	if ep.auth.anonymous() {
		return s + fmt.Sprintf("; pulls without an account are counted for everybody behind the same address: use '%s', or try again later", login)
	}
	return s + "; try again later"
}

// reading is reason for an answer that broke off.
func (ep *endpoint) reading(err error) string {
	if errors.Is(err, errTooBig) {
		return err.Error()
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "the connection broke"
	}
	return ep.reason(err)
}

var errTooBig = errors.New("it is too big")

func readAll(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%w: more than %d bytes", errTooBig, limit)
	}
	return b, err
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
