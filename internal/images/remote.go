package images

import (
	"context"
	"os"

	"berth/internal/errdef"
	"berth/internal/store"
)

// Remote talks to registries. The client is heavy to start, so the engine does
// not import it: the face hands it in.
type Remote interface {
	// Pull brings an image into the store.
	Pull(ctx context.Context, s *store.Store, opt PullOptions) (PullResult, error)
	// Push sends an image of the store to its registry.
	Push(ctx context.Context, s *store.Store, opt PushOptions) (PushResult, error)
	// Login finds out whether a registry accepts an account.
	Login(ctx context.Context, s *store.Store, opt LoginOptions) (LoginResult, error)
	// Search looks for repositories by a word.
	Search(ctx context.Context, s *store.Store, opt SearchOptions) ([]SearchResult, error)
	// Manifests fetches what a name stands for, as the registry has it.
	Manifests(ctx context.Context, s *store.Store, opt ManifestOptions) ([]ManifestDocument, error)
}

// PushOptions asks for an image to be sent.
type PushOptions struct {
	Ref      string
	AllTags  bool     // all images of the repository
	Platform string   // what the image must be for; empty: whatever it is for
	Progress Progress `json:"-"`
	// Namespace is the user namespace to work in; nil: none.
	Namespace *os.File `json:"-"`
}

// PushResult says what a push has sent last.
type PushResult struct {
	Ref    string // full name, without a tag where all were sent
	Digest string // of the manifest
	Size   int64  // of the manifest
}

// LoginOptions is an account to try at a registry. Without a user name it is
// the one that is stored for it; then [errdef.ErrNotFound] says that there is none.
type LoginOptions struct {
	Server   string // host[:port], docker.io for Docker Hub
	Username string
	Password string
}

// LoginResult says that the registry accepts the account.
type LoginResult struct {
	Username string
	// IdentityToken is to be kept in place of the password, if it is given.
	IdentityToken string
}

// SearchOptions is a word to look for, with the registry before it if that is
// not Docker Hub.
type SearchOptions struct {
	Term  string
	Limit int // the most results; 0: what the registry finds right
}

// SearchResult is a repository that was found.
type SearchResult struct {
	Name        string
	Description string
	Stars       int
	Official    bool
}

// Platform is what an image is for.
type Platform = store.Platform

// ManifestOptions names what to fetch.
type ManifestOptions struct {
	Ref      string
	Insecure bool // the registry needs no certificate, and may speak plain HTTP
	Each     bool // of a list, the manifests in it rather than the list itself
}

// ManifestDocument is a manifest or a list of manifests.
type ManifestDocument struct {
	Ref       string // full name with the digest
	MediaType string
	Digest    string
	Size      int64
	List      bool
	Listed    bool      // it is one of a list's
	Platform  *Platform `json:",omitempty"`
	Raw       []byte    // as the registry has it
}

func (s *Set) registries() (Remote, error) {
	if s.Remote == nil {
		return nil, &errdef.Error{Kind: errdef.ErrNotSupported, Text: "this program has no registry client"}
	}
	return s.Remote, nil
}
