package engine

import (
	"context"

	"github.com/moby/moby/api/types/events"
)

// ImagePush sends an image to its registry.
func (e *Engine) ImagePush(ctx context.Context, opt PushOptions) (PushResult, error) {
	r, err := e.registries()
	if err != nil {
		return PushResult{}, err
	}
	res, err := r.Push(ctx, e.images, opt)
	if err == nil {
		e.noteImage(events.ActionPush, familiarName(res.Ref), repositoryName(res.Ref))
	}
	return res, err
}

// RegistryLogin finds out whether a registry accepts an account.
func (e *Engine) RegistryLogin(ctx context.Context, opt LoginOptions) (LoginResult, error) {
	r, err := e.registries()
	if err != nil {
		return LoginResult{}, err
	}
	return r.Login(ctx, e.images, opt)
}

// ImageSearch looks for images in a registry.
func (e *Engine) ImageSearch(ctx context.Context, opt SearchOptions) ([]SearchResult, error) {
	r, err := e.registries()
	if err != nil {
		return nil, err
	}
	return r.Search(ctx, e.images, opt)
}

// ImageManifests fetches manifests from a registry.
func (e *Engine) ImageManifests(ctx context.Context, opt ManifestOptions) ([]ManifestDocument, error) {
	r, err := e.registries()
	if err != nil {
		return nil, err
	}
	return r.Manifests(ctx, e.images, opt)
}
