package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// auth answers the challenges of one endpoint and remembers what satisfied it:
// a password for everything or a token for each scope of access.
type auth struct {
	ep     *endpoint
	server string // under which credentials are stored

	mu      sync.Mutex
	loaded  bool
	cred    credential
	credErr error
	basic   string            // the header's value once the endpoint has asked for a password
	tokens  map[string]string // by scope
	offline bool              // ask for an identity that can be kept
	refresh string            // the identity that came
}

// authorized makes a request with whatever authorization the endpoint wants.
func (ep *endpoint) authorized(ctx context.Context, q call) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		sent := ep.auth.header(q)
		resp, err := ep.send(ctx, q, sent)
		if err != nil || !ep.own(q) {
			return resp, err
		}
		header := resp.Header
		if resp.StatusCode != http.StatusUnauthorized {
			if sent != "" || !hides(resp.StatusCode) || !ep.auth.hasCredential(ctx) {
				return resp, nil
			}
			// Some registries answer a stranger with "not found" and
			// challenge only who asks at the door.
			if header, err = ep.knock(ctx); err != nil || header == nil {
				return resp, nil
			}
		}
		if attempt == 3 {
			return resp, nil
		}
		again, err := ep.auth.answer(ctx, header, q.scope, sent)
		if err != nil || !again {
			if err != nil {
				discard(resp)
			}
			return resp, err
		}
		discard(resp)
	}
}

func hides(code int) bool { return code == http.StatusNotFound || code == http.StatusForbidden }

// knock asks for /v2/ without authorization and returns the header of the
// challenge, or nil when there is none.
func (ep *endpoint) knock(ctx context.Context) (http.Header, error) {
	resp, err := ep.send(ctx, call{method: http.MethodGet}, "")
	if err != nil {
		return nil, err
	}
	discard(resp)
	if resp.StatusCode != http.StatusUnauthorized {
		return nil, nil
	}
	return resp.Header, nil
}

// header returns the authorization to send with a call, if one is known. None
// goes to another host, where a registry may want its uploads.
func (a *auth) header(q call) string {
	if !a.ep.own(q) {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.tokens[q.scope]; t != "" {
		return "Bearer " + t
	}
	return a.basic
}

func (a *auth) hasCredential(ctx context.Context) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.credential(ctx).empty()
}

// anonymous reports whether nothing is known that would say who we are.
func (a *auth) anonymous() bool { return !a.hasCredential(context.Background()) }

// credential reads what is stored for the endpoint, once. The lock is held.
func (a *auth) credential(ctx context.Context) credential {
	if !a.loaded {
		a.cred, a.credErr = a.ep.client.creds.lookup(ctx, a.server)
		a.loaded = true
	}
	return a.cred
}

// answer finds the authorization that a challenge asks for. It reports whether
// to try again: not when what was sent is already the best there is.
func (a *auth) answer(ctx context.Context, header http.Header, scope, sent string) (again bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.tokens[scope]; t != "" && sent != "Bearer "+t {
		return true, nil // another request has just fetched a new token
	}
	challenges := parseChallenges(header.Values("WWW-Authenticate"))
	for _, ch := range challenges {
		if ch.scheme == "bearer" && ch.params["realm"] != "" {
			token, err := a.fetchToken(ctx, ch, scope)
			if err != nil {
				return false, err
			}
			if a.tokens == nil {
				a.tokens = map[string]string{}
			}
			a.tokens[scope] = token
			return "Bearer "+token != sent, nil
		}
	}
	for _, ch := range challenges {
		if ch.scheme == "basic" {
			c := a.credential(ctx)
			if c.user == "" || a.basic != "" && sent == a.basic {
				return false, nil
			}
			a.basic = basicHeader(c)
			return true, nil
		}
	}
	return false, nil
}

func basicHeader(c credential) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.user+":"+c.password))
}

// pullScope is the right to read a repository, in the words of token servers.
func pullScope(repo string) string { return "repository:" + repo + ":pull" }

// pushScope is the right to read and write a repository.
func pushScope(repo string) string { return pullScope(repo) + ",push" }

// fetchToken gets a token from the server that the challenge names. The lock
// is held: others that need one wait for it.
func (a *auth) fetchToken(ctx context.Context, ch challenge, want string) (string, error) {
	c := a.credential(ctx)
	if c.token != "" {
		return c.token, nil
	}
	realm, err := url.Parse(ch.params["realm"])
	if err != nil || realm.Host == "" || realm.Scheme != "https" && realm.Scheme != "http" {
		return "", fail(ErrRegistry, err, "%s names a token server that is no address: %q", a.ep.label(), oneLine(ch.params["realm"]))
	}
	if realm.Scheme == "http" && !c.empty() && !isLoopback(realm.Host) && !a.ep.client.insecure.has(realm.Host) {
		return "", fail(ErrRegistry, nil, "%s wants the password sent in the clear to %s: list that host in \"insecure-registries\" to allow it", a.ep.label(), realm.Host)
	}
	// For reading, the registry knows better what the repository is called:
	// a mirror may have it elsewhere. For writing, its word is about the one
	// request, and the token should do for all of the push.
	scope := ch.params["scope"]
	if scope == "" || strings.Contains(want, ":pull,push") {
		scope = want
	}
	if c.identity != "" {
		token, err := a.postToken(ctx, realm, ch.params["service"], scope, c)
		var se *statusError
		if !errors.As(err, &se) || se.code != http.StatusNotFound && se.code != http.StatusMethodNotAllowed {
			return token, err
		}
		// The server knows only the older way: the identity is the password.
		c.password = c.identity
	}
	return a.getToken(ctx, realm, ch.params["service"], scope, c)
}

func (a *auth) getToken(ctx context.Context, realm *url.URL, service, scope string, c credential) (string, error) {
	q := realm.Query()
	setUnlessEmpty(q, "service", service)
	for s := range strings.FieldsSeq(scope) {
		q.Add("scope", s)
	}
	if c.user != "" {
		q.Set("account", c.user)
	}
	if a.offline {
		q.Set("offline_token", "true")
		q.Set("client_id", "berth")
	}
	u := *realm
	u.RawQuery = q.Encode()
	return a.askToken(ctx, http.MethodGet, u.String(), nil, func(req *http.Request) {
		if c.user != "" {
			req.Header.Set("Authorization", basicHeader(c))
		}
	})
}

func (a *auth) postToken(ctx context.Context, realm *url.URL, service, scope string, c credential) (string, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {"berth"}, "refresh_token": {c.identity}}
	setUnlessEmpty(form, "service", service)
	setUnlessEmpty(form, "scope", scope)
	body := strings.NewReader(form.Encode())
	return a.askToken(ctx, http.MethodPost, realm.String(), body, func(req *http.Request) {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	})
}

func setUnlessEmpty(v url.Values, key, value string) {
	if value != "" {
		v.Set(key, value)
	}
}

func (a *auth) askToken(ctx context.Context, method, address string, body io.Reader, prepare func(*http.Request)) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		cancel(nil)
		return "", err
	}
	prepare(req)
	resp, err := a.ep.client.roundTrip(req, cancel, 0)
	if err != nil {
		if ctx.Err() != nil && context.Cause(ctx) != errSilent && errors.Is(err, context.Canceled) {
			return "", err
		}
		server := &endpoint{client: a.ep.client, host: req.URL.Host}
		return "", fail(ErrUnreachable, err, "cannot reach token server %s of %s: %s", req.URL.Host, a.ep.label(), server.reason(stripURL(err)))
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		se := readStatus("token server "+req.URL.Host+" of "+a.ep.label(), resp)
		se.atDoor = true
		return "", se
	}
	var answer struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		Refresh     string `json:"refresh_token"`
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(b, &answer)
	}
	if answer.Token == "" {
		answer.Token = answer.AccessToken
	}
	if err != nil || answer.Token == "" || strings.ContainsAny(answer.Token, "\r\n") {
		return "", fail(ErrRegistry, err, "token server %s of %s gave no token", req.URL.Host, a.ep.label())
	}
	if a.offline {
		a.refresh = answer.Refresh
	}
	return answer.Token, nil
}

func stripURL(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

// why adds to a refusal what the user cannot see: that a password was used
// and not accepted, or that none could be had.
func (a *auth) why(cause error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.credErr != nil:
		return fmt.Errorf("%v (and %w)", cause, a.credErr)
	case a.loaded && a.cred.user != "":
		return fmt.Errorf("%w, as %s", cause, a.cred.user)
	}
	return cause
}
