package registry

import (
	"context"

	"berth/internal/registry/platform"
	"berth/internal/registry/ref"
)

// maxDocuments is how long all manifests of a list may be together.
const maxDocuments = 64 << 20

// Document is a manifest, or a list of manifests, as a registry has it.
type Document struct {
	Descriptor
	Raw      []byte
	List     bool
	Listed   bool               // it is one of a list's
	Platform *platform.Platform // that the list says it is for, or its configuration
}

// Documents fetches what r names. With each, what a list names is fetched in
// place of the list, in its order.
func (c *Client) Documents(ctx context.Context, r ref.Ref, each bool) ([]Document, error) {
	var out []Document
	err := c.each(ctx, r.Domain, func(ep *endpoint) error {
		var err error
		out, err = ep.documents(ctx, r, each)
		return err
	})
	return out, err
}

func (ep *endpoint) documents(ctx context.Context, r ref.Ref, each bool) ([]Document, error) {
	doc, desc, raw, err := ep.document(ctx, r, -1)
	if err != nil {
		return nil, err
	}
	top := Document{Descriptor: desc, Raw: raw, List: doc.isList()}
	if !doc.isList() || !each {
		if each {
			top.Platform = ep.platformOf(ctx, r, doc)
		}
		return []Document{top}, nil
	}
	var out []Document
	size := int64(0)
	for _, e := range doc.Manifests {
		if err := e.check(); err != nil {
			return nil, fail(ErrUnsupported, err, "cannot use image %s: its manifest list is not valid: %v", r.Familiar(), err)
		}
		if size += e.Size; size > maxDocuments {
			return nil, fail(ErrUnsupported, errTooBig, "cannot use image %s: the manifests in its list have more than %d bytes", r.Familiar(), maxDocuments)
		}
		in, desc, raw, err := ep.document(ctx, r.WithDigest(e.Digest), e.Size)
		if err != nil {
			return nil, err
		}
		one := Document{Descriptor: desc, Raw: raw, List: in.isList(), Listed: true}
		if e.Platform != nil {
			// As the list has it, also where that is no platform at all.
			one.Platform = &platform.Platform{OS: e.Platform.OS, Arch: e.Platform.Arch, Variant: e.Platform.Variant}
		}
		out = append(out, one)
	}
	return out, nil
}

// platformOf reads what an image says it is for; nil when it does not or is no
// image.
func (ep *endpoint) platformOf(ctx context.Context, r ref.Ref, doc *document) *platform.Platform {
	if doc.checkImage() != nil {
		return nil
	}
	raw, err := ep.config(ctx, r, *doc.Config)
	if err != nil {
		return nil
	}
	cfg, err := parseConfig(raw, len(doc.Layers))
	if err != nil {
		return nil
	}
	p := cfg.platform()
	return &p
}
