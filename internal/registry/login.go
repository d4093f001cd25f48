package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Account is what a registry accepts.
type Account struct {
	User string
	// Identity is what to keep in place of the password, where the token
	// server gives one: it is good for tokens and for nothing else.
	Identity string
}

// Login finds out whether a registry (host[:port], docker.io for Docker Hub)
// accepts an account. Without a user name it is the one that is stored for it;
// then [ErrNotFound] says that there is none. Nothing is stored.
func (c *Client) Login(ctx context.Context, server, user, password string) (Account, error) {
	ep := c.origin(server)
	cred := credential{user: user, password: password}
	if user == "" {
		var err error
		if cred, err = c.creds.lookup(ctx, ep.auth.server); err != nil {
			return Account{}, fail(ErrDenied, err, "%v", err)
		}
		if cred.empty() {
			return Account{}, fail(ErrNotFound, nil, "no account is stored for %s", server)
		}
	}
	ep.auth.cred, ep.auth.loaded, ep.auth.offline = cred, true, user != ""
	resp, err := ep.do(ctx, call{method: http.MethodGet})
	if err == nil {
		discard(resp)
		return Account{User: cred.user, Identity: ep.auth.refresh}, nil
	}
	var se *statusError
	if !errors.As(err, &se) {
		return Account{}, err
	}
	where := fmt.Sprintf("Get %q", ep.settled()+"://"+ep.host+"/v2/")
	switch {
	case se.code == http.StatusUnauthorized, se.atDoor && se.code == http.StatusForbidden:
		why := "incorrect username or password"
		if se.atDoor && se.message != "" {
			why = se.message
		}
		return Account{}, fail(ErrDenied, se, "%s: unauthorized: %s", where, why)
	case se.code == http.StatusNotFound && !se.atDoor:
		return Account{}, fail(ErrRegistry, se, "%s: %s is no registry", where, server)
	case se.code == http.StatusTooManyRequests:
		return Account{}, fail(ErrRegistry, se, "%s: too many requests: %s: try again later", where, se.saying())
	}
	return Account{}, fail(ErrRegistry, se, "%s: %v", where, se)
}

// settled is the scheme that the endpoint speaks.
func (ep *endpoint) settled() string {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.schemes[0]
}
