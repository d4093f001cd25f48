package images

import (
	"context"

	"github.com/moby/moby/api/types/events"
)

// Push sends an image to its registry.
func (s *Set) Push(ctx context.Context, opt PushOptions) (PushResult, error) {
	r, err := s.registries()
	if err != nil {
		return PushResult{}, err
	}
	if err := s.take(ctx, opt.Ref); err != nil {
		return PushResult{}, err
	}
	if opt.Namespace, err = s.namespace(s.Layers().Kind()); err != nil {
		return PushResult{}, err
	}
	res, err := r.Push(ctx, s.store, opt)
	if err == nil {
		s.note(events.ActionPush, FamiliarName(res.Ref), repositoryName(res.Ref))
	}
	return res, err
}

// Login finds out whether a registry accepts an account.
func (s *Set) Login(ctx context.Context, opt LoginOptions) (LoginResult, error) {
	r, err := s.registries()
	if err != nil {
		return LoginResult{}, err
	}
	return r.Login(ctx, s.store, opt)
}

// Search looks for images in a registry.
func (s *Set) Search(ctx context.Context, opt SearchOptions) ([]SearchResult, error) {
	r, err := s.registries()
	if err != nil {
		return nil, err
	}
	return r.Search(ctx, s.store, opt)
}

// Manifests fetches manifests from a registry.
func (s *Set) Manifests(ctx context.Context, opt ManifestOptions) ([]ManifestDocument, error) {
	r, err := s.registries()
	if err != nil {
		return nil, err
	}
	return r.Manifests(ctx, s.store, opt)
}
