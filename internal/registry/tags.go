package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"berth/internal/registry/ref"
)

const (
	maxTagPage  = 8 << 20
	maxTagPages = 1000
	maxTags     = 64 << 20 // bytes of all pages
)

// Tags returns all tags of r's repository, in the registry's order.
func (c *Client) Tags(ctx context.Context, r ref.Ref) ([]string, error) {
	var tags []string
	err := c.each(ctx, r.Domain, func(ep *endpoint) error {
		var err error
		tags, err = ep.tags(ctx, r)
		return err
	})
	return tags, err
}

func (ep *endpoint) tags(ctx context.Context, r ref.Ref) ([]string, error) {
	var tags []string
	query, size := "n=1000", 0
	for range maxTagPages {
		resp, err := ep.do(ctx, call{method: http.MethodGet, path: r.Path + "/tags/list", query: query, scope: pullScope(r.Path)})
		if err != nil {
			return nil, ep.noTags(r, err)
		}
		raw, err := readAll(resp.Body, maxTagPage)
		resp.Body.Close()
		var page struct {
			Tags []string `json:"tags"`
		}
		if size += len(raw); err == nil && size > maxTags {
			err = fmt.Errorf("%w: more than %d bytes", errTooBig, maxTags)
		}
		if err == nil {
			err = json.Unmarshal(raw, &page)
		}
		if err != nil {
			return nil, fail(ErrRegistry, err, "cannot read the tags of %s from %s: %v", r.FamiliarName(), ep.label(), err)
		}
		for _, t := range page.Tags {
			if _, err := r.WithTag(t); err == nil {
				tags = append(tags, t)
			}
		}
		next := nextPage(resp.Header.Get("Link"))
		if next == "" || next == query || len(page.Tags) == 0 {
			break
		}
		query = next
	}
	return tags, nil
}

func (ep *endpoint) noTags(r ref.Ref, err error) error {
	var se *statusError
	if errors.As(err, &se) && se.code == http.StatusNotFound && !se.atDoor {
		return fail(ErrNotFound, se, "repository %s not found: does not exist or no pull access", r.FamiliarName())
	}
	return ep.missing(r, err)
}

// nextPage reads the header Link, `</v2/x/tags/list?last=b&n=2>; rel="next"`,
// of which only the query matters: the rest is known.
func nextPage(link string) string {
	address, ok := strings.CutPrefix(strings.TrimSpace(link), "<")
	address, params, ok2 := strings.Cut(address, ">")
	if !ok || !ok2 || !strings.Contains(params, "next") {
		return ""
	}
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.RawQuery
}
