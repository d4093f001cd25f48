package images

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Push puts images, one per platform, under repo:tag into the registry at base
// ("http://127.0.0.1:5000"). More than one make a manifest list.
func Push(base, repo, tag string, images ...Image) error {
	r := remote{base: base, repo: repo}
	if len(images) == 1 {
		_, err := r.image(tag, images[0])
		return err
	}
	typ := dockerList
	var list []descriptor
	for _, im := range images {
		d, err := r.image("", im)
		if err != nil {
			return err
		}
		d.Platform = map[string]string{"os": "linux", "architecture": im.arch()}
		if im.arch() == "arm64" {
			d.Platform["variant"] = "v8"
		}
		list = append(list, d)
		if im.OCI {
			typ = ociIndex
		}
	}
	b, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": typ, "manifests": list})
	if err != nil {
		return err
	}
	return r.putManifest(tag, typ, b)
}

type remote struct{ base, repo string }

func (r remote) url(rest string) string { return r.base + "/v2/" + r.repo + "/" + rest }

// image pushes one image and names it tag, or only its digest when tag is
// empty.
func (r remote) image(tag string, im Image) (descriptor, error) {
	cfg, err := im.config()
	if err != nil {
		return descriptor{}, err
	}
	for _, l := range im.Layers {
		if err := r.putBlob(l.Blob); err != nil {
			return descriptor{}, err
		}
	}
	if err := r.putBlob(cfg); err != nil {
		return descriptor{}, err
	}
	man, typ, err := im.manifest(cfg)
	if err != nil {
		return descriptor{}, err
	}
	if tag == "" {
		tag = man.Digest
	}
	return descriptor{MediaType: typ, Digest: man.Digest, Size: man.Size}, r.putManifest(tag, typ, man.data)
}

func (r remote) putManifest(tag, typ string, b []byte) error {
	req, err := http.NewRequest(http.MethodPut, r.url("manifests/"+tag), bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", typ)
	_, err = do(req, http.StatusCreated)
	return err
}

// putBlob uploads b unless the repository has it.
func (r remote) putBlob(b Blob) error {
	if head, err := http.Head(r.url("blobs/" + b.Digest)); err == nil {
		head.Body.Close()
		if head.StatusCode == http.StatusOK {
			return nil
		}
	}
	req, err := http.NewRequest(http.MethodPost, r.url("blobs/uploads/"), nil)
	if err != nil {
		return err
	}
	started, err := do(req, http.StatusAccepted)
	if err != nil {
		return err
	}
	where, err := started.Request.URL.Parse(started.Header.Get("Location"))
	if err != nil {
		return err
	}
	q := where.Query()
	q.Set("digest", b.Digest)
	where.RawQuery = q.Encode()
	body, err := b.open()
	if err != nil {
		return err
	}
	defer body.Close()
	req, err = http.NewRequest(http.MethodPut, where.String(), body)
	if err != nil {
		return err
	}
	req.ContentLength = b.Size
	req.Header.Set("Content-Type", "application/octet-stream")
	_, err = do(req, http.StatusCreated)
	return err
}

// do sends req and answers an error unless the status is want. The body is
// read.
func do(req *http.Request, want int) (*http.Response, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != want {
		return nil, fmt.Errorf("%s %s: %s: %s", req.Method, req.URL, resp.Status, strings.TrimSpace(string(text)))
	}
	return resp, nil
}
