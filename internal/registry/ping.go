package registry

import (
	"context"
	"net/http"
	"time"
)

// pingTime is how long a registry, and each of its mirrors, may take to say that
// it is there.
const pingTime = 5 * time.Second

// Ping finds out whether a registry or a mirror of it answers: it asks each once,
// without credentials, until one does. It returns who that is, and what time it
// has there, if it says so.
func (c *Client) Ping(ctx context.Context, domain string) (server string, date time.Time, err error) {
	err = c.each(ctx, domain, func(ep *endpoint) error {
		ctx, cancel := context.WithTimeout(ctx, pingTime)
		defer cancel()
		resp, err := ep.send(ctx, call{method: http.MethodGet, wait: pingTime}, "")
		if err != nil {
			if ctx.Err() != nil {
				return fail(ErrUnreachable, err, "%s does not answer within %v", ep.label(), pingTime)
			}
			return ep.explain(err)
		}
		if resp.StatusCode == http.StatusNotFound || resp.StatusCode >= 500 {
			return fail(ErrRegistry, readStatus(ep.label(), resp), "%s is no registry, or a broken one (HTTP status %d)", ep.label(), resp.StatusCode)
		}
		server, date = ep.label(), time.Time{}
		if t, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			date = t
		}
		discard(resp)
		return nil
	})
	return server, date, err
}
