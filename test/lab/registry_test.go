package lab

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

// TestRegistries: the registries are up, hold the images, and misbehave the
// way they are told to.
func TestRegistries(t *testing.T) {
	if !Root() {
		t.Fatal("run these tests as root")
	}
	l := &Lab{Dir: t.TempDir()}
	l.startRegistries(t)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	get := func(url string, auth bool) (int, string, error) {
		req, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json")
		if auth {
			req.SetBasicAuth(User, Password)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b), err
	}
	want := func(code int, url string, auth bool) string {
		t.Helper()
		got, body, err := get(url, auth)
		if got != code || err != nil {
			t.Errorf("%s: %d %v, want %d: %.200s", url, got, err, code, body)
		}
		return body
	}
	const man = "/v2/test/kit/manifests/latest"
	text := want(200, l.Mirror+man, false)
	want(401, "http://"+l.Auth+man, false)
	want(200, "http://"+l.Auth+man, true)
	want(200, "https://"+l.TLS+man, false)
	want(404, "http://"+l.Scratch+man, false)
	want(500, "http://"+l.Tricky+"/v2/broken/test/kit/manifests/latest", false)
	want(429, "http://"+l.Tricky+"/v2/busy/test/kit/manifests/latest", false)
	want(200, "http://"+l.Tricky+"/v2/busy/test/kit/manifests/latest", false)
	var m struct{ Layers []struct{ Digest string } }
	if err := json.Unmarshal([]byte(text), &m); err != nil || len(m.Layers) != 2 {
		t.Fatalf("manifest %s: %v", text, err)
	}
	blob := "/test/kit/blobs/" + m.Layers[1].Digest
	whole := want(200, "http://"+l.Tricky+"/v2/fine"+blob, false)
	if flipped := want(200, "http://"+l.Tricky+"/v2/flip"+blob, false); flipped == whole || len(flipped) != len(whole) {
		t.Error("flip changes nothing, or too much")
	}
	if _, body, err := get("http://"+l.Tricky+"/v2/cut"+blob, false); err == nil || len(body) >= len(whole) {
		t.Errorf("cut gives %d of %d bytes, error %v", len(body), len(whole), err)
	}
	get("http://"+l.Tricky+"/v2/cut-once"+blob, false)
	if again := want(200, "http://"+l.Tricky+"/v2/cut-once"+blob, false); again != whole {
		t.Error("cut-once cuts the second time")
	}
	conf, err := os.ReadFile(l.Dir + "/registries/auth.yml")
	if err != nil || !strings.Contains(string(conf), "htpasswd") {
		t.Errorf("the auth registry is open: %v", err)
	}
}
