package registry

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestPing: one that wants a login is there; one that is silent, broken or
// something else is not, and a mirror counts.
func TestPing(t *testing.T) {
	serve := func(code int, date string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" || r.Header.Get("Authorization") != "" {
				t.Errorf("asked for %s with %q", r.URL.Path, r.Header.Get("Authorization"))
			}
			if date != "" {
				w.Header().Set("Date", date)
			}
			w.WriteHeader(code)
		}))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	const date = "Mon, 02 Jan 2023 15:04:05 GMT"
	for _, c := range []struct {
		what, domain string
		mirrors      []string
		says         string // part of the error
		kind         error
	}{
		{"open", serve(200, date), nil, "", nil},
		{"wants a login", serve(401, date), nil, "", nil},
		{"something else", serve(404, date), nil, "is no registry", ErrRegistry},
		{"broken", serve(503, date), nil, "HTTP status 503", ErrRegistry},
		{"nobody there", closed, nil, closed, ErrUnreachable},
		{"a mirror is", closed, []string{"http://" + serve(200, date)}, "", nil},
	} {
		c2, err := New(Options{Mirrors: map[string][]string{c.domain: c.mirrors}, DockerConfig: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		server, at, err := c2.Ping(t.Context(), c.domain)
		c2.Close()
		switch {
		case c.kind == nil && (err != nil || at.Year() != 2023 || !strings.Contains(server, "127.0.0.1")):
			t.Errorf("%s: %q, %v, %v", c.what, server, at, err)
		case c.kind != nil && (!errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v, want %v with %q", c.what, err, c.kind, c.says)
		}
	}
}

// TestPingSilent: one that takes the connection and says nothing holds nobody
// up.
func TestPingSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := New(Options{DockerConfig: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	start := time.Now()
	_, _, err = c.Ping(t.Context(), l.Addr().String())
	if took := time.Since(start); !errors.Is(err, ErrUnreachable) || took > 4*pingTime || !strings.Contains(err.Error(), "does not answer within 5s") {
		t.Errorf("%v after %v", err, took)
	}
}
