package registrytest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Quirks are what registries differ in when they are written to.
type Quirks struct {
	Relative  bool  // Locations are paths without a host
	PlainHTTP bool  // Locations say http: whatever was asked
	OneChunk  bool  // a second chunk is refused
	MaxBody   int64 // requests that are longer get 413; 0: no limit
	NoMount   bool  // a mount begins an upload
	Replaces  bool  // a second chunk takes the place of the first
	MinChunk  int   // says that chunks must have this many bytes
}

// upload is one that has begun.
type upload struct {
	repo string
	got  []byte
}

// SetQuirks changes how the registry behaves.
func (f *Fake) SetQuirks(q Quirks) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.quirks = q
}

// Blob returns what a repository has of a digest, and whether it has it.
func (f *Fake) Blob(repo, digest string) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b, ok := f.blobs[digest]; ok {
		return b, true
	}
	b, ok := f.blobs[repo+"@"+digest]
	return b, ok
}

// PutBlob gives one repository a blob.
func (f *Fake) PutBlob(repo string, b []byte) {
	f.SetBlob(repo+"@"+Digest(b), b)
}

// Manifest returns what a repository has under a tag or digest.
func (f *Fake) Manifest(repo, name string) (mediaType string, raw []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.manifests[repo+"/"+name]
	return m.kind, m.raw
}

// Forget loses all uploads that are under way, and returns how many there were.
func (f *Fake) Forget() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.uploads)
	f.uploads = nil
	return n
}

// serveUpload answers for /v2/REPO/blobs/uploads/ID.
func (f *Fake) serveUpload(w http.ResponseWriter, r *http.Request, repo, id string) {
	var body []byte
	f.mu.Lock()
	q := f.quirks
	f.mu.Unlock()
	if q.MaxBody > 0 && r.ContentLength > q.MaxBody {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		io.WriteString(w, "<html>too large</html>")
		return
	}
	if r.Method == http.MethodPatch || r.Method == http.MethodPut {
		var err error
		body, err = io.ReadAll(r.Body)
		f.mu.Lock()
		if u := f.uploads[id]; u != nil && r.Method == http.MethodPatch && err != nil {
			u.got = append(u.got, body...) // what came before the connection broke
		}
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method == http.MethodPost {
		f.begin(w, r, repo)
		return
	}
	u := f.uploads[id]
	if u == nil || u.repo != repo {
		Refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
		return
	}
	switch r.Method {
	case http.MethodPatch:
		if span := r.Header.Get("Content-Range"); span != "" {
			first, _, _ := strings.Cut(span, "-")
			if n, err := strconv.Atoi(first); err != nil || n != len(u.got) || n > 0 && q.OneChunk {
				Refuse(w, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "blob upload invalid")
				return
			}
		}
		if q.Replaces {
			u.got = nil
		}
		u.got = append(u.got, body...)
		f.locate(w, r, repo, id)
		w.WriteHeader(http.StatusAccepted)
	case http.MethodGet:
		f.locate(w, r, repo, id)
		w.WriteHeader(http.StatusNoContent)
	case http.MethodDelete:
		delete(f.uploads, id)
		w.WriteHeader(http.StatusNoContent)
	case http.MethodPut:
		all := append(u.got, body...)
		want := r.URL.Query().Get("digest")
		if Digest(all) != want {
			Refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "provided digest did not match uploaded content")
			return
		}
		delete(f.uploads, id)
		f.blobs[repo+"@"+want] = all
		w.Header().Set("Docker-Content-Digest", want)
		w.Header().Set("Location", "/v2/"+repo+"/blobs/"+want)
		w.WriteHeader(http.StatusCreated)
	}
}

// begin answers a POST: a mount or the begin of an upload. The lock is held.
func (f *Fake) begin(w http.ResponseWriter, r *http.Request, repo string) {
	from, digest := r.URL.Query().Get("from"), r.URL.Query().Get("mount")
	if b, ok := f.blobs[from+"@"+digest]; ok && !f.quirks.NoMount {
		f.blobs[repo+"@"+digest] = b
		w.WriteHeader(http.StatusCreated)
		return
	}
	if f.uploads == nil {
		f.uploads = map[string]*upload{}
	}
	f.lastID++
	id := fmt.Sprintf("up-%d", f.lastID)
	f.uploads[id] = &upload{repo: repo}
	if n := f.quirks.MinChunk; n > 0 {
		w.Header().Set("OCI-Chunk-Min-Length", strconv.Itoa(n))
	}
	f.locate(w, r, repo, id)
	w.WriteHeader(http.StatusAccepted)
}

// locate says where an upload goes on and how much of it is there. The lock is
// held.
func (f *Fake) locate(w http.ResponseWriter, r *http.Request, repo, id string) {
	where := "/v2/" + repo + "/blobs/uploads/" + id + "?_state=a%2Fb"
	if !f.quirks.Relative {
		scheme := "http"
		if r.TLS != nil && !f.quirks.PlainHTTP {
			scheme = "https"
		}
		where = scheme + "://" + r.Host + where
	}
	w.Header().Set("Location", where)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, len(f.uploads[id].got)-1)))
}

// putManifest answers a PUT of a manifest.
func (f *Fake) putManifest(w http.ResponseWriter, r *http.Request, repo, name string) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var doc struct {
		Config Descriptor
		Layers []Descriptor
	}
	if json.Unmarshal(raw, &doc) != nil {
		Refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid")
		return
	}
	for _, d := range append(doc.Layers, doc.Config) {
		if _, ok := f.Blob(repo, d.Digest); d.Digest != "" && !ok && len(d.URLs) == 0 {
			Refuse(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry: "+d.Digest)
			return
		}
	}
	tag := name
	if strings.HasPrefix(name, "sha256:") {
		tag = ""
	}
	f.AddManifest(repo, tag, r.Header.Get("Content-Type"), raw)
	w.Header().Set("Docker-Content-Digest", Digest(raw))
	w.WriteHeader(http.StatusCreated)
}
