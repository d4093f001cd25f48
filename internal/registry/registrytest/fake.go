package registrytest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Hook sees a request first and reports whether it has answered it.
type Hook func(w http.ResponseWriter, r *http.Request) bool

// Fake is a registry in memory.
type Fake struct {
	Addr string // host:port
	URL  string

	mu        sync.Mutex
	hook      Hook
	manifests map[string]manifest // by "repo/tag" and "repo/digest"
	blobs     map[string][]byte   // by digest: in every repository; by "repo@digest": in one
	seen      []string
	quirks    Quirks
	uploads   map[string]*upload
	lastID    int
}

type manifest struct {
	kind string
	raw  []byte
}

// NewFake starts an empty registry on loopback.
func NewFake(t testing.TB) *Fake {
	t.Helper()
	f := &Fake{manifests: map[string]manifest{}, blobs: map[string][]byte{}}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	f.URL = srv.URL
	f.Addr = strings.TrimPrefix(srv.URL, "http://")
	return f
}

// Add stores an image under a tag.
func (f *Fake) Add(repo, tag string, img *Image) {
	f.AddManifest(repo, tag, img.Type, img.Manifest)
	f.mu.Lock()
	defer f.mu.Unlock()
	for d, b := range img.Blobs {
		f.blobs[d] = b
	}
}

// AddManifest stores a document under a tag and its digest.
func (f *Fake) AddManifest(repo, tag, kind string, raw []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.manifests[repo+"/"+Digest(raw)] = manifest{kind, raw}
	if tag != "" {
		f.manifests[repo+"/"+tag] = manifest{kind, raw}
	}
}

// SetBlob stores content under a digest that need not be its own.
func (f *Fake) SetBlob(digest string, b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blobs[digest] = b
}

// SetHook puts a hook before the registry's own answers, or none.
func (f *Fake) SetHook(h Hook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = h
}

// Seen returns the requests so far, as "GET /v2/…", and forgets them.
func (f *Fake) Seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.seen
	f.seen = nil
	return s
}

func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.seen = append(f.seen, r.Method+" "+r.URL.Path)
	hook := f.hook
	f.mu.Unlock()
	if hook != nil && hook(w, r) {
		return
	}
	f.Serve(w, r)
}

// Serve answers as a well-behaved registry does.
func (f *Fake) Serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	if repo, id, ok := strings.Cut(path, "/blobs/uploads/"); ok {
		f.serveUpload(w, r, repo, id)
		return
	}
	if repo, name, ok := strings.Cut(path, "/manifests/"); ok {
		if r.Method == http.MethodPut {
			f.putManifest(w, r, repo, name)
			return
		}
		f.mu.Lock()
		m, ok := f.manifests[repo+"/"+name]
		f.mu.Unlock()
		if !ok {
			Refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
			return
		}
		w.Header().Set("Content-Type", m.kind)
		w.Header().Set("Docker-Content-Digest", Digest(m.raw))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(m.raw))
		return
	}
	if repo, digest, ok := strings.Cut(path, "/blobs/"); ok {
		b, ok := f.Blob(repo, digest)
		if !ok {
			Refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
		return
	}
	if path != "" {
		Refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
	}
}

// Refuse answers with an error in the protocol's form.
func Refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
}
