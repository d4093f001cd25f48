package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"berth/internal/registry/ref"
)

// Found is a repository that a search has found.
type Found struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Stars       int    `json:"star_count"`
	Official    bool   `json:"is_official"`
}

// catalogScope is the right to list all repositories.
const catalogScope = "registry:catalog:*"

// Search looks for repositories of a registry by a word. Docker Hub and some
// others answer searches; of the rest the list of repositories is looked
// through for names that have the word in them. Limit is the most results; 0
// leaves it to the registry.
func (c *Client) Search(ctx context.Context, domain, word string, limit int) ([]Found, error) {
	ep := c.origin(domain)
	if domain == ref.DefaultDomain {
		ep.host = "index.docker.io"
	}
	found, err := ep.search(ctx, word, limit)
	var se *statusError
	if domain != ref.DefaultDomain && errors.As(err, &se) && !se.atDoor && (se.code == http.StatusNotFound || se.code == http.StatusMethodNotAllowed) {
		found, err = ep.catalog(ctx, word, limit)
		if errors.As(err, &se) && (se.code == http.StatusNotFound || se.is("UNSUPPORTED")) {
			return nil, fail(ErrUnsupported, se, "%s can neither be searched nor lists its repositories", ep.label())
		}
	}
	switch {
	case err == nil:
		for i := range found {
			found[i].Name, found[i].Description = printable(found[i].Name), printable(found[i].Description)
		}
		return found, nil
	case !errors.As(err, &se):
		return nil, err
	case se.code == http.StatusUnauthorized, se.code == http.StatusForbidden:
		why := ep.auth.why(deniedCause(se))
		return nil, fail(ErrDenied, why, "search access denied at %s, it may require '%s login %s': %v", ep.label(), c.opt.Program, domain, why)
	case se.code == http.StatusTooManyRequests:
		return nil, fail(ErrRegistry, se, "%s has had too many requests from here: %s", se.who, ep.tooMany(se))
	}
	return nil, fail(ErrRegistry, se, "%v", se)
}

func (ep *endpoint) search(ctx context.Context, word string, limit int) ([]Found, error) {
	q := url.Values{"q": {word}}
	if limit > 0 {
		q.Set("n", strconv.Itoa(limit))
	}
	var page struct {
		Results []Found `json:"results"`
	}
	_, err := ep.askJSON(ctx, call{method: http.MethodGet, version: "v1/", path: "search", query: q.Encode()}, &page)
	return page.Results, err
}

// catalog lists repositories whose names contain the word.
func (ep *endpoint) catalog(ctx context.Context, word string, limit int) ([]Found, error) {
	var found []Found
	query := "n=1000"
	for range maxTagPages {
		var page struct {
			Repositories []string `json:"repositories"`
		}
		next, err := ep.askJSON(ctx, call{method: http.MethodGet, path: "_catalog", query: query, scope: catalogScope}, &page)
		if err != nil {
			return nil, err
		}
		for _, name := range page.Repositories {
			if strings.Contains(name, strings.ToLower(word)) {
				found = append(found, Found{Name: ep.host + "/" + name})
			}
			if limit > 0 && len(found) == limit {
				return found, nil
			}
		}
		if next == "" || next == query || len(page.Repositories) == 0 {
			break
		}
		query = next
	}
	return found, nil
}

// askJSON reads a small JSON document, and the query of the page that follows
// if there is one.
func (ep *endpoint) askJSON(ctx context.Context, q call, into any) (next string, err error) {
	resp, err := ep.do(ctx, q)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	raw, err := readAll(resp.Body, maxTagPage)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fail(ErrRegistry, err, "cannot read the answer of %s: %s", ep.label(), oneLine(err.Error()))
	}
	return nextPage(resp.Header.Get("Link")), nil
}
