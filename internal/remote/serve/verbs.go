package serve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"berth/internal/errdef"
	"berth/internal/images"
	"berth/internal/registry"
	"berth/internal/registry/ref"
	"berth/internal/remote"
	"berth/internal/store"
)

// login tries an account.
func login(ctx context.Context, opt registry.Options, o images.LoginOptions) (images.LoginResult, error) {
	if _, err := ref.ParseName(o.Server + "/x"); err != nil {
		return images.LoginResult{}, invalid("%q is not the name of a registry", o.Server)
	}
	c, err := registry.New(opt)
	if err != nil {
		return images.LoginResult{}, err
	}
	defer c.Close()
	a, err := c.Login(ctx, o.Server, o.Username, o.Password)
	return images.LoginResult{Username: a.User, IdentityToken: a.Identity}, kinded(err)
}

// search looks for repositories.
func search(ctx context.Context, opt registry.Options, o images.SearchOptions) ([]images.SearchResult, error) {
	c, err := registry.New(opt)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	domain, word := ref.DefaultDomain, o.Term
	if r, err := ref.ParseName(o.Term); err == nil && r.Domain != ref.DefaultDomain {
		domain, word = r.Domain, r.Path
	} else if host, rest, ok := strings.Cut(o.Term, "/"); ok && rest == "" && strings.ContainsAny(host, ".:") {
		domain, word = host, "" // all of a registry's
	} else if ok && (host == "docker.io" || host == "index.docker.io") {
		word = rest
	}
	found, err := c.Search(ctx, domain, word, o.Limit)
	out := make([]images.SearchResult, 0, len(found))
	for _, f := range found {
		out = append(out, images.SearchResult{Name: f.Name, Description: f.Description, Stars: f.Stars, Official: f.Official})
	}
	return out, kinded(err)
}

// manifests fetches what a name stands for.
func manifests(ctx context.Context, opt registry.Options, o images.ManifestOptions) ([]images.ManifestDocument, error) {
	r, err := ref.Parse(o.Ref)
	if err != nil {
		return nil, invalid("%v", err)
	}
	if o.Insecure {
		opt.Insecure = append(opt.Insecure[:len(opt.Insecure):len(opt.Insecure)], r.Domain)
	}
	c, err := registry.New(opt)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	docs, err := c.Documents(ctx, r, o.Each)
	var out []images.ManifestDocument
	for _, d := range docs {
		one := images.ManifestDocument{
			Ref: r.Name() + ":" + r.Tag + "@" + d.Digest, MediaType: d.MediaType, Digest: d.Digest,
			Size: d.Size, List: d.List, Listed: d.Listed, Raw: d.Raw,
		}
		if r.Tag == "" {
			one.Ref = r.Name() + "@" + d.Digest
		}
		if p := d.Platform; p != nil {
			one.Platform = &store.Platform{OS: p.OS, Architecture: p.Arch, Variant: p.Variant}
		}
		out = append(out, one)
	}
	return out, kinded(err)
}

// ping asks registries whether they are there.
func ping(ctx context.Context, opt registry.Options, domains []string) ([]remote.Answer, error) {
	c, err := registry.New(opt)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	out := make([]remote.Answer, len(domains))
	var asked sync.WaitGroup
	for i, d := range domains {
		asked.Go(func() {
			server, date, err := c.Ping(ctx, d)
			out[i] = remote.Answer{Domain: d, Server: server, Date: date}
			if err != nil {
				out[i].Why = err.Error()
			}
		})
	}
	asked.Wait()
	return out, ctx.Err()
}

func invalid(format string, args ...any) error {
	return &errdef.Error{Kind: errdef.ErrInvalid, Text: fmt.Sprintf(format, args...)}
}

// kinded gives an error of the registry the kind that the caller looks for.
func kinded(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, registry.ErrNotFound):
		return &errdef.Error{Kind: errdef.ErrNotFound, Text: err.Error()}
	case errors.Is(err, registry.ErrUnsupported):
		return &errdef.Error{Kind: errdef.ErrNotSupported, Text: err.Error()}
	}
	return err
}
