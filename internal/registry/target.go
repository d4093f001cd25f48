package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"berth/internal/registry/ref"
)

// Target is a repository that is written to. It is always the registry itself:
// mirrors are for reading.
type Target struct {
	client *Client
	ep     *endpoint
	ref    ref.Ref
}

// Target returns r's repository for writing. It asks nothing yet.
func (c *Client) Target(r ref.Ref) (*Target, error) {
	eps, err := c.serving(r.Domain)
	if err != nil {
		return nil, err
	}
	for _, ep := range eps {
		if !ep.isMirror {
			return &Target{client: c, ep: ep, ref: r}, nil
		}
	}
	return nil, fail(ErrRegistry, nil, "%s has no registry of its own", r.Domain)
}

func (t *Target) call(method, rest string) call {
	return call{method: method, path: t.ref.Path + rest, scope: pushScope(t.ref.Path)}
}

// Has reports whether the repository holds a blob.
func (t *Target) Has(ctx context.Context, digest string) (bool, error) {
	resp, err := t.ep.do(ctx, t.call(http.MethodHead, "/blobs/"+digest))
	if err == nil {
		resp.Body.Close()
		return true, nil
	}
	var se *statusError
	if errors.As(err, &se) && !se.atDoor {
		if se.code == http.StatusNotFound {
			return false, nil
		}
		if se.who != t.ep.label() {
			return true, nil // it sends to its storage for what it has
		}
	}
	return false, t.refused(err)
}

// Mount has the registry put a blob of another of its repositories into this
// one. It reports whether that went well; a registry that does not want to is
// no error.
func (t *Target) Mount(ctx context.Context, digest, from string) (bool, error) {
	q := t.call(http.MethodPost, "/blobs/uploads/")
	q.query = url.Values{"mount": {digest}, "from": {from}}.Encode()
	q.scope += " " + pullScope(from)
	resp, err := t.ep.do(ctx, q)
	if err != nil {
		var se *statusError
		if errors.As(err, &se) {
			return false, nil // what is wrong shows at the upload
		}
		return false, t.refused(err)
	}
	defer discard(resp)
	if resp.StatusCode == http.StatusCreated {
		return true, nil
	}
	if u, err := t.session(resp); err == nil {
		u.cancel() // an upload was begun instead
	}
	return false, nil
}

// PutManifest stores a manifest or list under the tag of the target's name, or
// under its digest when that has none, and returns its digest.
func (t *Target) PutManifest(ctx context.Context, mediaType string, raw []byte) (string, error) {
	digest := digestOf(raw)
	name := t.ref.Tag
	if name == "" {
		name = digest
	}
	q := t.call(http.MethodPut, "/manifests/"+name)
	q.header = map[string]string{"Content-Type": mediaType}
	q.body, q.length = reader(raw), int64(len(raw))
	resp, err := t.ep.do(ctx, q)
	if err != nil {
		return "", t.refused(err)
	}
	discard(resp)
	if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != digest {
		return "", fail(ErrDigest, nil, "%s has stored the manifest of %s as %s, it should be %s", t.ep.label(), t.ref.Familiar(), oneLine(got), digest)
	}
	return digest, nil
}

// reader returns the bytes as the body of a request, again and again.
func reader(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// refused says in Docker's words why the registry does not take something.
func (t *Target) refused(err error) error {
	var se *statusError
	if !errors.As(err, &se) {
		return err
	}
	name := t.ref.FamiliarName()
	switch {
	case se.code == http.StatusUnauthorized, se.code == http.StatusForbidden, se.is("DENIED") && se.code < 500:
		cause := t.ep.auth.why(deniedCause(se))
		return fail(ErrDenied, cause, "push access denied for %s, repository does not exist or may require '%s login': %v", name, t.client.opt.Program, cause)
	case se.code == http.StatusTooManyRequests:
		return fail(ErrRegistry, se, "%s has had too many requests from here: %s", se.who, t.ep.tooMany(se))
	case se.atDoor:
		return fail(ErrRegistry, se, "%v", se)
	case se.is("NAME_UNKNOWN"), se.is("NAME_INVALID"):
		return fail(ErrNotFound, se, "%s does not take the repository name %s: %s", t.ep.label(), name, se.saying())
	case se.code == http.StatusNotFound:
		return fail(ErrNotFound, se, "cannot push to %s: %s has no such repository, or nothing can be pushed to it", name, t.ep.label())
	case se.code == http.StatusMethodNotAllowed, se.is("UNSUPPORTED"):
		return fail(ErrUnsupported, se, "%s takes no pushes: %s", t.ep.label(), se.saying())
	case se.code == http.StatusRequestEntityTooLarge:
		return fail(ErrRegistry, se, "%s takes no more: %s: a quota is used up, or a proxy before it limits the size of requests", t.ep.label(), se.saying())
	}
	return fail(ErrRegistry, se, "cannot push to %s: %v", name, se)
}

// saying is what the registry says about an error, with the status.
func (e *statusError) saying() string {
	if e.message == "" {
		return fmt.Sprintf("HTTP status %d", e.code)
	}
	return fmt.Sprintf("%s (HTTP status %d)", e.message, e.code)
}
