package registry

import (
	"context"
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
	"sync"
	"testing"

	rt "berth/internal/registry/registrytest"
)

// dockerConfig writes a config.json and returns its folder.
func dockerConfig(t *testing.T, doc map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), rt.Must(json.Marshal(doc)), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func basicAuth(user, password string) map[string]any {
	return map[string]any{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))}
}

func TestBasicAuth(t *testing.T) {
	s := rt.Start(t, rt.Options{Auth: true})
	s.Push(t, "private", "latest", sample(t, "linux/amd64", false, 100))
	r := mustRef(t, s.Addr+"/private")
	auths := func(name string, e map[string]any) string {
		return dockerConfig(t, map[string]any{"auths": map[string]any{name: e}})
	}
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, "config.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	denied := "pull access denied for " + s.Addr + "/private, repository does not exist or may require 'berth login'"
	for _, tc := range []struct{ what, dir, want string }{
		{"no credentials", t.TempDir(), denied + ": authentication required"},
		{"good", auths(s.Addr, basicAuth(rt.User, rt.Password)), ""},
		{"good, old form", auths("https://"+s.Addr+"/v1/", basicAuth(rt.User, rt.Password)), ""},
		{"good, in two fields", auths(s.Addr, map[string]any{"username": rt.User, "password": rt.Password}), ""},
		{"wrong password", auths(s.Addr, basicAuth(rt.User, "wrong")), denied + ": authentication required, as " + rt.User},
		{"of another registry", auths("other.example", basicAuth(rt.User, rt.Password)), denied},
		{"damaged entry", auths(s.Addr, map[string]any{"auth": "%"}), "is damaged: not base64"},
		{"damaged file", damaged, "cannot read credentials in"},
		{"missing helper", dockerConfig(t, map[string]any{"credsStore": "no-such-helper"}), "docker-credential-no-such-helper"},
	} {
		_, err := fetch(newClient(t, Options{DockerConfig: tc.dir}), r, "")
		if tc.want == "" && err != nil {
			t.Errorf("%s: %v", tc.what, err)
		} else if tc.want != "" {
			contains(t, err, tc.want)
			if !errors.Is(err, ErrDenied) {
				t.Errorf("%s: %v is not ErrDenied", tc.what, err)
			}
		}
	}
}

func TestCredentialHelper(t *testing.T) {
	bin := t.TempDir()
	script := "#!/bin/sh\nread server\ncase \"$1 $server\" in\n" +
		"'get a.example') echo '{\"ServerURL\":\"a\",\"Username\":\"u\",\"Secret\":\"p\"}';;\n" +
		"'get https://index.docker.io/v1/') echo '{\"Username\":\"<token>\",\"Secret\":\"id\"}';;\n" +
		"'get b.example') echo 'credentials not found in native keychain'; exit 1;;\n" +
		"*) echo 'it is locked' >&2; exit 1;;\nesac\n"
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-fake"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	all := dockerConfig(t, map[string]any{"credsStore": "fake", "auths": map[string]any{"b.example": basicAuth("file", "x")}})
	some := dockerConfig(t, map[string]any{"credHelpers": map[string]any{"a.example": "fake", "docker.io": "fake"}})
	for _, tc := range []struct {
		dir, server string
		want        credential
		err         string
	}{
		{all, "a.example", credential{user: "u", password: "p"}, ""},
		{all, "docker.io", credential{user: "<token>", identity: "id"}, ""},
		{all, "b.example", credential{user: "file", password: "x"}, ""},
		{all, "c.example", credential{}, "docker-credential-fake failed: it is locked"},
		{some, "a.example", credential{user: "u", password: "p"}, ""},
		{some, "docker.io", credential{user: "<token>", identity: "id"}, ""},
		{some, "c.example", credential{}, ""},
		{t.TempDir(), "a.example", credential{}, ""},
	} {
		f := &credentialFile{dir: tc.dir}
		got, err := f.lookup(context.Background(), tc.server)
		if got != tc.want {
			t.Errorf("%s: got %+v, want %+v", tc.server, got, tc.want)
		}
		if tc.err == "" && err != nil {
			t.Errorf("%s: %v", tc.server, err)
		} else if tc.err != "" {
			contains(t, err, tc.err)
		}
	}
}

// tokenServer is a token server and the gate of a registry that wants its
// tokens. Each token is good for a few requests only.
type tokenServer struct {
	t       *testing.T
	lives   int    // requests a token is good for
	account string // base64 of user:password that is let in; empty lets all in
	refresh string // identity token that is let in
	noPost  bool
	mu      sync.Mutex
	issued  map[string]int
	asked   []string // scopes
}

func (s *tokenServer) issue(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodPost {
		if s.noPost {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		r.ParseForm()
		if r.Form.Get("grant_type") != "refresh_token" || r.Form.Get("refresh_token") != s.refresh || r.Form.Get("service") != "test" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
	} else if s.account != "" && r.Header.Get("Authorization") != "Basic "+s.account {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"details":"incorrect username or password"}`)
		return
	}
	s.asked = append(s.asked, r.FormValue("scope"))
	token := fmt.Sprintf("token%d", len(s.issued))
	s.issued[token] = s.lives
	fmt.Fprintf(w, `{"access_token":%q,"expires_in":60}`, token)
}

// gate lets requests with a living token pass.
func (s *tokenServer) gate(realm string) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if s.issued[token] > 0 {
			s.issued[token]--
			return false
		}
		w.Header().Add("WWW-Authenticate", `Negotiate`)
		w.Header().Add("WWW-Authenticate", `Bearer realm="`+realm+`",service="test",scope="repository:app:pull"`)
		rt.Refuse(w, 401, "UNAUTHORIZED", "authentication required")
		return true
	}
}

func TestTokenAuth(t *testing.T) {
	img := sample(t, "linux/amd64", false, 100)
	account := base64.StdEncoding.EncodeToString([]byte("u:p"))
	for _, tc := range []struct {
		what  string
		srv   *tokenServer
		entry map[string]any
		want  string
	}{
		{"anonymous", &tokenServer{lives: 100}, nil, ""},
		{"tokens expire", &tokenServer{lives: 1}, nil, ""},
		{"password", &tokenServer{lives: 2, account: account}, basicAuth("u", "p"), ""},
		{"password needed", &tokenServer{lives: 2, account: account}, nil, "may require 'berth login': incorrect username or password"},
		{"wrong password", &tokenServer{lives: 2, account: account}, basicAuth("u", "q"), "incorrect username or password, as u"},
		{"identity token", &tokenServer{lives: 2, account: account, refresh: "id"}, map[string]any{"identitytoken": "id"}, ""},
		{"identity token, old server", &tokenServer{lives: 2, noPost: true, account: base64.StdEncoding.EncodeToString([]byte("<token>:id"))},
			map[string]any{"username": "<token>", "identitytoken": "id"}, ""},
		{"token is not enough", &tokenServer{lives: 0}, nil, "may require 'berth login': authentication required"},
	} {
		f := rt.NewFake(t)
		f.Add("app", "latest", img)
		s := tc.srv
		s.t, s.issued = t, map[string]int{}
		realm := httptest.NewServer(http.HandlerFunc(s.issue))
		t.Cleanup(realm.Close)
		f.SetHook(s.gate(realm.URL + "/token?extra=1"))
		auths := map[string]any{}
		if tc.entry != nil {
			auths[f.Addr] = tc.entry
		}
		c := newClient(t, Options{DockerConfig: dockerConfig(t, map[string]any{"auths": auths})})
		_, err := fetch(c, mustRef(t, f.Addr+"/app"), "")
		if tc.want == "" && err != nil {
			t.Errorf("%s: %v", tc.what, err)
		} else if tc.want != "" {
			contains(t, err, tc.want)
			if !errors.Is(err, ErrDenied) {
				t.Errorf("%s: %v is not ErrDenied", tc.what, err)
			}
		}
		for _, scope := range s.asked {
			if scope != "repository:app:pull" {
				t.Errorf("%s: asked for the scope %q", tc.what, scope)
			}
		}
	}
}

func TestRegistryToken(t *testing.T) {
	f := rt.NewFake(t)
	f.Add("app", "latest", sample(t, "linux/amd64", false, 100))
	s := &tokenServer{t: t, issued: map[string]int{"mine": 100}}
	f.SetHook(s.gate("http://127.0.0.1:1/"))
	dir := dockerConfig(t, map[string]any{"auths": map[string]any{f.Addr: map[string]any{"registrytoken": "mine"}}})
	if _, err := fetch(newClient(t, Options{DockerConfig: dir}), mustRef(t, f.Addr+"/app"), ""); err != nil {
		t.Error(err)
	}
}

func TestTokenServerTrouble(t *testing.T) {
	f := rt.NewFake(t)
	f.Add("app", "latest", sample(t, "linux/amd64", false, 100))
	tired := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/busy":
			w.WriteHeader(503)
		case "/html":
			fmt.Fprint(w, "<html>")
		case "/gone":
			w.WriteHeader(404)
		}
	}))
	t.Cleanup(tired.Close)
	for realm, want := range map[string]string{
		"http://" + rt.FreeAddr(t):      "cannot reach token server",
		tired.URL + "/busy":             "token server " + strings.TrimPrefix(tired.URL, "http://") + " of registry " + f.Addr + ": service unavailable (HTTP status 503)",
		tired.URL + "/html":             "gave no token",
		tired.URL + "/gone":             "not found (HTTP status 404)",
		"file:///etc/passwd":            "names a token server that is no address",
		"http://unknown.example/tokens": "wants the password sent in the clear to unknown.example",
	} {
		f.SetHook((&tokenServer{t: t, issued: map[string]int{}}).gate(realm))
		dir := dockerConfig(t, map[string]any{"auths": map[string]any{f.Addr: basicAuth("u", "p")}})
		_, err := fetch(newClient(t, Options{DockerConfig: dir}), mustRef(t, f.Addr+"/app"), "")
		contains(t, err, want)
		if errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v is ErrNotFound", realm, err)
		}
	}
}

// A registry that hides private repositories from strangers as "not found"
// challenges at /v2/.
func TestHiddenRepository(t *testing.T) {
	f := rt.NewFake(t)
	f.Add("app", "latest", sample(t, "linux/amd64", false, 100))
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("u:p"))
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Header.Get("Authorization") == want:
			return false
		case r.URL.Path == "/v2/":
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
		default:
			rt.Refuse(w, 404, "NAME_UNKNOWN", "unknown")
		}
		return true
	})
	dir := dockerConfig(t, map[string]any{"auths": map[string]any{f.Addr: basicAuth("u", "p")}})
	if _, err := fetch(newClient(t, Options{DockerConfig: dir}), mustRef(t, f.Addr+"/app"), ""); err != nil {
		t.Error(err)
	}
	_, err := fetch(newClient(t, Options{}), mustRef(t, f.Addr+"/app"), "")
	contains(t, err, "repository "+f.Addr+"/app not found: does not exist or no pull access")
}

func TestRedirectsCarryNoCredentials(t *testing.T) {
	img := sample(t, "linux/amd64", false, 100)
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, h := range []string{"Authorization", "Referer", "Cookie"} {
			if v := r.Header.Get(h); v != "" {
				t.Errorf("the storage was sent %s: %s", h, v)
			}
		}
		b := img.Blobs[strings.TrimPrefix(r.URL.Path, "/")]
		if r.URL.Query().Get("signature") != "s" || b == nil {
			w.WriteHeader(404)
			return
		}
		w.Write(b)
	}))
	t.Cleanup(storage.Close)
	f := rt.NewFake(t)
	f.Add("app", "latest", img)
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return true
		}
		if _, digest, ok := strings.Cut(r.URL.Path, "/blobs/"); ok {
			http.Redirect(w, r, storage.URL+"/"+digest+"?signature=s", http.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	dir := dockerConfig(t, map[string]any{"auths": map[string]any{f.Addr: basicAuth("u", "p")}})
	if _, err := fetch(newClient(t, Options{DockerConfig: dir}), mustRef(t, f.Addr+"/app"), ""); err != nil {
		t.Error(err)
	}
	storage.Close()
	_, err := fetch(newClient(t, Options{DockerConfig: dir}), mustRef(t, f.Addr+"/app"), "")
	contains(t, err, "to which registry "+f.Addr+" sends for content")
	if strings.Contains(err.Error(), "signature") {
		t.Errorf("%q shows a signed address", err)
	}
}

func TestParseChallenges(t *testing.T) {
	for _, tc := range []struct {
		in   []string
		want []challenge
	}{
		{[]string{`Basic realm="x"`}, []challenge{{"basic", map[string]string{"realm": "x"}}}},
		{[]string{`Bearer realm="https://a/b",service="s",scope="repository:a/b:pull,push"`},
			[]challenge{{"bearer", map[string]string{"realm": "https://a/b", "service": "s", "scope": "repository:a/b:pull,push"}}}},
		{[]string{`Negotiate, Basic realm=x , BEARER Realm = "a\"b"`},
			[]challenge{{"negotiate", map[string]string{}}, {"basic", map[string]string{"realm": "x"}}, {"bearer", map[string]string{"realm": `a"b`}}}},
		{[]string{`Negotiate`, `Basic`}, []challenge{{"negotiate", map[string]string{}}, {"basic", map[string]string{}}}},
		{[]string{`Bearer realm="unfinished`}, []challenge{{"bearer", map[string]string{}}}},
		{[]string{``, `=`, `a=b`, `"`}, nil},
	} {
		if got := parseChallenges(tc.in); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%q: got %v, want %v", tc.in, got, tc.want)
		}
	}
}

func FuzzChallenges(f *testing.F) {
	f.Add(`Bearer realm="https://a/b",service=s,scope="x y"`)
	f.Add(`Negotiate, Basic realm="a\"b`)
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range parseChallenges([]string{s}) {
			if c.scheme == "" || c.params == nil {
				t.Fatalf("%q gives %+v", s, c)
			}
		}
	})
}
