package registry

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	rt "berth/internal/registry/registrytest"
)

func TestLogin(t *testing.T) {
	account := base64.StdEncoding.EncodeToString([]byte("u:p"))
	basic := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Basic "+account {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		rt.Refuse(w, 401, "UNAUTHORIZED", "authentication required")
		return true
	}
	refuse := func(code int) rt.Hook {
		return func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(code); return true }
	}
	tokens := func(t *testing.T, refresh string) rt.Hook {
		s := &tokenServer{t: t, lives: 1, issued: map[string]int{}, account: account}
		realm := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if refresh != "" && r.Header.Get("Authorization") == "Basic "+account {
				if r.URL.Query().Get("offline_token") != "true" || r.URL.Query().Get("account") != "u" {
					t.Errorf("asked for %s", r.URL.RawQuery)
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				s.issued["token"] = 1
				fmt.Fprintf(w, `{"token":"token","refresh_token":%q}`, refresh)
				return
			}
			s.issue(w, r)
		}))
		t.Cleanup(realm.Close)
		return s.gate(realm.URL)
	}
	for _, tc := range []struct {
		what     string
		hook     func(t *testing.T) rt.Hook
		user     string
		password string
		stored   map[string]any
		want     Account
		err      string
		kind     error
	}{
		{what: "open to all", hook: func(*testing.T) rt.Hook { return nil }, user: "u", password: "p", want: Account{User: "u"}},
		{what: "password", hook: func(*testing.T) rt.Hook { return basic }, user: "u", password: "p", want: Account{User: "u"}},
		{what: "wrong password", hook: func(*testing.T) rt.Hook { return basic }, user: "u", password: "q", err: `/v2/": unauthorized: incorrect username or password`, kind: ErrDenied},
		{what: "stored", hook: func(*testing.T) rt.Hook { return basic }, stored: basicAuth("u", "p"), want: Account{User: "u"}},
		{what: "stored and wrong", hook: func(*testing.T) rt.Hook { return basic }, stored: basicAuth("u", "q"), err: "unauthorized", kind: ErrDenied},
		{what: "nothing stored", hook: func(*testing.T) rt.Hook { return basic }, err: "no account is stored", kind: ErrNotFound},
		{what: "another is given than stored", hook: func(*testing.T) rt.Hook { return basic }, user: "x", password: "y", stored: basicAuth("u", "p"), err: "unauthorized", kind: ErrDenied},
		{what: "token", hook: func(t *testing.T) rt.Hook { return tokens(t, "") }, user: "u", password: "p", want: Account{User: "u"}},
		{what: "token, wrong password", hook: func(t *testing.T) rt.Hook { return tokens(t, "") }, user: "u", password: "q", err: `unauthorized: incorrect username or password`, kind: ErrDenied},
		{what: "identity", hook: func(t *testing.T) rt.Hook { return tokens(t, "keep me") }, user: "u", password: "p", want: Account{User: "u", Identity: "keep me"}},
		{what: "no registry", hook: func(*testing.T) rt.Hook { return refuse(404) }, user: "u", password: "p", err: "is no registry", kind: ErrRegistry},
		{what: "broken", hook: func(*testing.T) rt.Hook { return refuse(501) }, user: "u", password: "p", err: "HTTP status 501", kind: ErrRegistry},
	} {
		f := rt.NewFake(t)
		f.SetHook(tc.hook(t))
		auths := map[string]any{}
		if tc.stored != nil {
			auths[f.Addr] = tc.stored
		}
		c := newClient(t, Options{DockerConfig: dockerConfig(t, map[string]any{"auths": auths})})
		got, err := c.Login(context.Background(), f.Addr, tc.user, tc.password)
		if tc.err != "" {
			contains(t, err, tc.err)
			if !errors.Is(err, tc.kind) {
				t.Errorf("%s: %v is not %v", tc.what, err, tc.kind)
			}
		} else if err != nil || got != tc.want {
			t.Errorf("%s: %+v, %v", tc.what, got, err)
		}
	}
	_, err := newClient(t, Options{}).Login(context.Background(), rt.FreeAddr(t), "u", "p")
	contains(t, err, "connection refused")
}

func TestSearch(t *testing.T) {
	f := rt.NewFake(t)
	c := newClient(t, Options{})
	ctx := context.Background()
	answer := func(path, body string) rt.Hook {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != path {
				w.WriteHeader(404)
				return true
			}
			fmt.Fprint(w, body)
			return true
		}
	}
	f.SetHook(answer("/v1/search", `{"results":[{"name":"a","description":"d","star_count":7,"is_official":true},{"name":"b"}]}`))
	got, err := c.Search(ctx, f.Addr, "x", 5)
	if err != nil || !reflect.DeepEqual(got, []Found{{"a", "d", 7, true}, {Name: "b"}}) {
		t.Errorf("%+v, %v", got, err)
	}
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/_catalog" {
			w.WriteHeader(404)
			return true
		}
		page := []string{"tools/gcc", "go"}
		if r.URL.Query().Get("last") == "" {
			w.Header().Set("Link", `</v2/_catalog?last=go&n=2>; rel="next"`)
		} else {
			page = []string{"tools/go"}
		}
		json.NewEncoder(w).Encode(map[string]any{"repositories": page})
		return true
	})
	for limit, want := range map[int]int{0: 2, 1: 1} {
		got, err = c.Search(ctx, f.Addr, "GO", limit)
		if err != nil || len(got) != want || got[0].Name != f.Addr+"/go" {
			t.Errorf("%+v, %v", got, err)
		}
	}
	for _, tc := range []struct {
		hook rt.Hook
		want string
		kind error
	}{
		{answer("/", ""), "can neither be searched nor lists its repositories", ErrUnsupported},
		{answer("/v1/search", "<html>"), "cannot read the answer of registry", ErrRegistry},
		{func(w http.ResponseWriter, r *http.Request) bool {
			rt.Refuse(w, 401, "UNAUTHORIZED", "who are you")
			return true
		}, "search access denied at registry", ErrDenied},
		{func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(500); return true }, "HTTP status 500", ErrRegistry},
	} {
		f.SetHook(tc.hook)
		_, err := c.Search(ctx, f.Addr, "x", 0)
		contains(t, err, tc.want)
		if !errors.Is(err, tc.kind) {
			t.Errorf("%v is not %v", err, tc.kind)
		}
	}
	// Docker Hub is asked where it answers searches.
	c.route(map[string]string{"index.docker.io:443": rt.FreeAddr(t)})
	_, err = c.Search(ctx, "docker.io", "x", 0)
	contains(t, err, "cannot reach registry index.docker.io: connection refused")
}

func TestDocuments(t *testing.T) {
	f := rt.NewFake(t)
	amd, arm := sample(t, "linux/amd64", true, 10), sample(t, "linux/arm64/v8", true, 10)
	f.Add("app", "amd", amd)
	f.Add("app", "arm", arm)
	kind, list := rt.List(true, amd, arm)
	f.AddManifest("app", "both", kind, list)
	c := newClient(t, Options{})
	ctx := context.Background()
	docs, err := c.Documents(ctx, mustRef(t, f.Addr+"/app:both"), false)
	if err != nil || len(docs) != 1 || !docs[0].List || docs[0].Listed || string(docs[0].Raw) != string(list) || docs[0].Digest != rt.Digest(list) {
		t.Errorf("%+v, %v", docs, err)
	}
	docs, err = c.Documents(ctx, mustRef(t, f.Addr+"/app:both"), true)
	if err != nil || len(docs) != 2 || !docs[0].Listed || docs[1].Digest != arm.Digest || docs[1].Platform.String() != "linux/arm64/v8" || docs[1].MediaType != rt.DockerManifest {
		t.Errorf("%+v, %v", docs, err)
	}
	docs, err = c.Documents(ctx, mustRef(t, f.Addr+"/app:amd"), true)
	if err != nil || len(docs) != 1 || docs[0].Listed || docs[0].Platform.String() != "linux/amd64" {
		t.Errorf("%+v, %v", docs, err)
	}
	_, err = c.Documents(ctx, mustRef(t, f.Addr+"/app:none"), true)
	contains(t, err, "manifest unknown")
}

// What anybody may write into a description does not reach the terminal as a
// command.
func TestSearchIsPrintable(t *testing.T) {
	f := rt.NewFake(t)
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		fmt.Fprint(w, `{"results":[{"name":"evil\u001b]0;owned\u0007","description":"é\u001b[2J\u009b2Jboo\n"}]}`)
		return true
	})
	found, err := newClient(t, Options{}).Search(t.Context(), f.Addr, "evil", 0)
	if err != nil || len(found) != 1 || found[0].Name != "evil ]0;owned " || found[0].Description != "é [2J 2Jboo " {
		t.Errorf("%+v, %v", found, err)
	}
}

// What a registry may list without an end is bounded as a whole.
func TestListsAreBounded(t *testing.T) {
	f := rt.NewFake(t)
	big := []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{},"layers":[],"x":%q}`, rt.DockerManifest, strings.Repeat("x", maxManifest-1000)))
	f.AddManifest("app", "big", rt.DockerManifest, big)
	entry := map[string]any{"mediaType": rt.DockerManifest, "digest": rt.Digest(big), "size": len(big)}
	var entries []any
	for range maxDocuments/maxManifest + 2 {
		entries = append(entries, entry)
	}
	kind, _ := rt.List(true)
	f.AddManifest("app", "all", kind, rt.Must(json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": kind, "manifests": entries})))
	c := newClient(t, Options{})
	docs, err := c.Documents(t.Context(), mustRef(t, f.Addr+"/app:all"), true)
	contains(t, err, "the manifests in its list have more than")
	if docs != nil {
		t.Errorf("%d documents", len(docs))
	}
	pages := 0
	page := rt.Must(json.Marshal(map[string]any{"tags": []string{"a"}, "x": strings.Repeat("x", maxTagPage-1000)}))
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			return false
		}
		pages++
		w.Header().Set("Link", fmt.Sprintf(`</v2/app/tags/list?last=%d>; rel="next"`, pages))
		w.Write(page)
		return true
	})
	_, err = c.Tags(t.Context(), mustRef(t, f.Addr+"/app"))
	contains(t, err, "it is too big")
	if pages > maxTags/maxTagPage+2 {
		t.Errorf("%d pages were read", pages)
	}
}

// A registry that wants to know who we are by certificate.
func TestClientCertificate(t *testing.T) {
	certs := t.TempDir()
	ours := rt.Must(rt.NewCert(certs, "client.example"))
	srv := httptest.NewUnstartedServer(nil)
	f := rt.NewFake(t)
	f.Add("app", "latest", sample(t, "linux/amd64", false, 10))
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 {
			rt.Refuse(w, 403, "DENIED", "no certificate")
			return
		}
		f.ServeHTTP(w, r)
	})
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	addr := strings.TrimPrefix(srv.URL, "https://")
	_, err := fetch(newClient(t, Options{CertDirs: []string{certs}}), mustRef(t, addr+"/app"), "")
	contains(t, err, "no certificate")
	dir := filepath.Join(certs, addr)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{ours.CertFile: "client.cert", ours.KeyFile: "client.key"} {
		if err := os.Link(from, filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fetch(newClient(t, Options{CertDirs: []string{certs}}), mustRef(t, addr+"/app"), ""); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(dir, "client.key")); err != nil {
		t.Fatal(err)
	}
	_, err = fetch(newClient(t, Options{CertDirs: []string{certs}}), mustRef(t, addr+"/app"), "")
	contains(t, err, "cannot use client certificate")
}

// What Docker Hub says when an address has used up its allowance, and what to
// do about it.
func TestPullLimit(t *testing.T) {
	f := rt.NewFake(t)
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Retry-After", "7200")
		rt.Refuse(w, 429, "TOOMANYREQUESTS", "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit")
		return true
	})
	_, err := fetch(newClient(t, Options{}), mustRef(t, f.Addr+"/app"), "")
	contains(t, err, "You have reached your unauthenticated pull rate limit", "it asks to wait 2h0m0s", "use 'berth login "+f.Addr+"'")
	dir := dockerConfig(t, map[string]any{"auths": map[string]any{f.Addr: basicAuth("u", "p")}})
	_, err = fetch(newClient(t, Options{DockerConfig: dir}), mustRef(t, f.Addr+"/app"), "")
	contains(t, err, "try again later")
	if strings.Contains(err.Error(), "berth login") {
		t.Errorf("%q tells someone with an account to log in", err)
	}
}
