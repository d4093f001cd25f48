package names

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// query writes a question, with EDNS of a size if that is not 0.
func query(t testing.TB, name string, typ dnsmessage.Type, edns int) []byte {
	t.Helper()
	n, err := dnsmessage.NewName(name)
	if err != nil {
		t.Fatal(err)
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 0x1234, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: typ, Class: dnsmessage.ClassINET}},
	}
	if edns > 0 {
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(edns, 0, false); err != nil {
			t.Fatal(err)
		}
		m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// summary is an answer in a line: its code, whether it is cut, its records.
func summary(t testing.TB, msg []byte) string {
	t.Helper()
	if msg == nil {
		return "nothing"
	}
	var m dnsmessage.Message
	if err := m.Unpack(msg); err != nil {
		t.Fatalf("%x: %v", msg, err)
	}
	words := []string{strings.TrimPrefix(m.RCode.String(), "RCode")}
	if m.Truncated {
		words = append(words, "cut")
	}
	var records []string
	for _, a := range m.Answers {
		switch b := a.Body.(type) {
		case *dnsmessage.AResource:
			records = append(records, netip.AddrFrom4(b.A).String())
		case *dnsmessage.AAAAResource:
			records = append(records, netip.AddrFrom16(b.AAAA).String())
		case *dnsmessage.PTRResource:
			records = append(records, b.PTR.String())
		}
	}
	slices.Sort(records)
	return strings.Join(append(words, records...), " ")
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// sample is a house with two networks and the default one.
func sample() *Directory {
	d := NewDirectory()
	front := []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16"), netip.MustParsePrefix("fd00:1::/64")}
	back := []netip.Prefix{netip.MustParsePrefix("172.19.0.0/16")}
	d.Put(Member{Container: "web1", Network: "f", NetName: "Front", Names: []string{"web1", "www", "0123456789ab"}, Addrs: addrs("172.18.0.2", "fd00:1::2"), Subnets: front})
	d.Put(Member{Container: "web2", Network: "f", NetName: "Front", Names: []string{"web2", "WWW"}, Addrs: addrs("172.18.0.3"), Subnets: front})
	d.Put(Member{Container: "web1", Network: "b", NetName: "back", Names: []string{"web1"}, Addrs: addrs("172.19.0.2"), Subnets: back, Links: map[string]string{"store": "db", "web2": "db"}})
	d.Put(Member{Container: "db", Network: "b", NetName: "back", Names: []string{"db"}, Addrs: addrs("172.19.0.3"), Subnets: back})
	d.Put(Member{Container: "old", Network: "d", NetName: "bridge", Addrs: addrs("172.17.0.2"), Links: map[string]string{"a": "older"}})
	d.Put(Member{Container: "older", Network: "d", NetName: "bridge", Addrs: addrs("172.17.0.3")})
	return d
}

func TestAnswers(t *testing.T) {
	host := addrs("172.18.0.1")
	const A, AAAA, PTR, MX, ANY = dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypePTR, dnsmessage.TypeMX, dnsmessage.TypeALL
	for _, tt := range []struct {
		who, name string
		typ       dnsmessage.Type
		want      string // "on": passed on
	}{
		{"web2", "web1.", A, "Success 172.18.0.2"},
		{"web2", "WEB1.", A, "Success 172.18.0.2"},
		{"web2", "web1.", AAAA, "Success fd00:1::2"},
		{"web1", "web2.", AAAA, "Success"}, // and not the host's word that there is none
		{"web2", "web1.", ANY, "Success 172.18.0.2 fd00:1::2"},
		{"web2", "web1.", MX, "Success"},
		{"web2", "web1.", 65, "Success"}, // HTTPS
		{"web2", "0123456789ab.", A, "Success 172.18.0.2"},
		{"web2", "www.", A, "Success 172.18.0.2 172.18.0.3"},
		{"web2", "web1.front.", A, "Success 172.18.0.2"},
		{"web2", "web1.back.", A, "on"},
		{"web2", "db.", A, "on"}, // in another network
		{"web1", "db.", A, "Success 172.19.0.3"},
		{"db", "web1.", A, "Success 172.19.0.2"},
		{"web1", "web1.", A, "Success 172.18.0.2"}, // its first network
		{"web1", "web1.back.", A, "Success 172.19.0.2"},
		{"web1", "store.", A, "Success 172.19.0.3"},
		{"web1", "web2.", A, "Success 172.18.0.3"},
		{"web1", "web2.back.", A, "Success 172.19.0.3"},
		{"db", "store.", A, "on"},
		{"old", "older.", A, "on"},
		{"old", "a.", A, "Success 172.17.0.3"},
		{"older", "a.", A, "on"},
		{"web2", "host.docker.internal.", A, "Success 172.18.0.1"},
		{"web2", "host.docker.internal.", AAAA, "Success"},
		{"web2", "example.com.", A, "on"},
		{"web2", ".", A, "on"},
		{"web2", "2.0.18.172.in-addr.arpa.", PTR, "Success web1.Front."},
		{"web2", "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa.", PTR, "Success web1.Front."},
		{"web2", "9.0.18.172.in-addr.arpa.", PTR, "NameError"},
		{"web2", "3.0.19.172.in-addr.arpa.", PTR, "on"},
		{"old", "3.0.17.172.in-addr.arpa.", PTR, "on"},
		{"web2", "8.8.8.8.in-addr.arpa.", PTR, "on"},
		{"web2", "300.0.18.172.in-addr.arpa.", PTR, "on"},
		{"web2", "x.ip6.arpa.", PTR, "on"},
		{"web2", "web1.", typeAXFR, "Refused"},
		{"nobody", "web1.", A, "on"},
	} {
		for _, edns := range []int{0, 1232} {
			s := &server{view: sample().Of(tt.who, host), up: &Upstream{}}
			q, answer := s.local(query(t, tt.name, tt.typ, edns), false)
			got := "on"
			if q == nil {
				got = summary(t, answer)
				var m dnsmessage.Message
				if m.Unpack(answer); m.ID != 0x1234 || len(m.Questions) != 1 || (len(m.Additionals) > 0) != (edns > 0) {
					t.Errorf("%s of %s: %+v", tt.name, tt.who, m)
				}
			}
			if got != tt.want {
				t.Errorf("%s asks for %s %s: %s, want %s", tt.who, tt.name, tt.typ, got, tt.want)
			}
		}
	}
}

func TestNoWayOut(t *testing.T) {
	s := &server{view: sample().Of("db", nil)}
	if q, a := s.local(query(t, "example.com.", dnsmessage.TypeA, 0), false); q != nil || summary(t, a) != "ServerFailure" {
		t.Errorf("%v, %s", q, summary(t, a))
	}
	if _, a := s.local(query(t, "web1.", dnsmessage.TypeA, 0), false); summary(t, a) != "Success 172.19.0.2" {
		t.Error(summary(t, a))
	}
}

// TestFollows: what changes is seen by the next question.
func TestFollows(t *testing.T) {
	d := sample()
	v := d.Of("web2", nil)
	see := func(name string) string { a, _ := v.Addresses(name); return fmt.Sprint(a) }
	d.Put(Member{Container: "db", Network: "f", NetName: "Front", Names: []string{"db"}, Addrs: addrs("172.18.0.9")})
	if got := see("db"); got != "[172.18.0.9]" {
		t.Error("after connect:", got)
	}
	d.Put(Member{Container: "db", Network: "f", NetName: "Front", Names: []string{"sql"}, Addrs: addrs("172.18.0.9")})
	if see("db") != "[]" || see("sql") != "[172.18.0.9]" {
		t.Error("after rename:", see("db"), see("sql"))
	}
	d.Remove("db", "f")
	if see("sql") != "[]" {
		t.Error("after disconnect:", see("sql"))
	}
	d.RemoveAll("web1")
	if see("www") != "[172.18.0.3]" {
		t.Error("after the end:", see("www"))
	}
	for _, c := range []string{"web2", "db", "old", "older"} {
		d.RemoveAll(c)
		d.Remove(c, "f")
	}
	if len(d.nets)+len(d.seats) != 0 {
		t.Errorf("left: %v %v", d.nets, d.seats)
	}
}

// TestMany: an answer that has no room for all addresses is cut and says so; over
// TCP it comes whole. All of them come first at some time.
func TestMany(t *testing.T) {
	d := NewDirectory()
	for i := range 300 {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i%250 + 1)})
		d.Put(Member{Container: fmt.Sprint(i), Network: "n", NetName: "n", Names: []string{"all"}, Addrs: []netip.Addr{a}})
	}
	s := &server{view: d.Of("0", nil)}
	for _, tt := range []struct {
		edns    int
		stream  bool
		longest int
		cut     bool
	}{{0, false, 512, true}, {1232, false, 1232, true}, {65000, false, 4096, true}, {0, true, 65535, false}} {
		_, a := s.local(query(t, "all.", dnsmessage.TypeA, tt.edns), tt.stream)
		var m dnsmessage.Message
		if err := m.Unpack(a); err != nil {
			t.Fatal(err)
		}
		if len(a) > tt.longest || m.Truncated != tt.cut || (len(m.Answers) == 300) == tt.cut || len(m.Answers) < 10 {
			t.Errorf("%+v: %d bytes, %d answers, cut %v", tt, len(a), len(m.Answers), m.Truncated)
		}
	}
	first := map[[4]byte]bool{}
	for range 50 {
		_, a := s.local(query(t, "all.", dnsmessage.TypeA, 0), false)
		var m dnsmessage.Message
		m.Unpack(a)
		first[m.Answers[0].Body.(*dnsmessage.AResource).A] = true
	}
	if len(first) < 10 {
		t.Errorf("only %d of 300 came first in 50 answers", len(first))
	}
}

func TestNonsense(t *testing.T) {
	ok := query(t, "web1.", dnsmessage.TypeA, 0)
	edit := func(f func(b []byte) []byte) []byte { return f(slices.Clone(ok)) }
	for name, tt := range map[string]struct {
		msg  []byte
		want string
	}{
		"empty":          {nil, "nothing"},
		"short":          {ok[:11], "nothing"},
		"an answer":      {edit(func(b []byte) []byte { b[2] |= 0x80; return b }), "nothing"},
		"an update":      {edit(func(b []byte) []byte { b[2] |= 5 << 3; return b }), "NotImplemented"},
		"no question":    {edit(func(b []byte) []byte { b[5] = 0; return b[:12] }), "FormatError"},
		"two questions":  {edit(func(b []byte) []byte { b[5] = 2; return append(b, b[12:]...) }), "FormatError"},
		"cut":            {ok[:len(ok)-1], "FormatError"},
		"class chaos":    {edit(func(b []byte) []byte { b[len(b)-1] = 3; return b }), "Refused"},
		"counts lie":     {edit(func(b []byte) []byte { b[6] = 255; return b }), "FormatError"},
		"name in circle": {edit(func(b []byte) []byte { return append(b[:12], 0xc0, 12, 0, 1, 0, 1) }), "FormatError"},
		"dot in a label": {edit(func(b []byte) []byte { b[14] = '.'; return b }), "FormatError"},
	} {
		s := &server{view: sample().Of("web2", nil), up: &Upstream{}}
		q, a := s.local(tt.msg, false)
		if q != nil || summary(t, a) != tt.want {
			t.Errorf("%s: %v, %s; want %s", name, q, summary(t, a), tt.want)
		}
	}
}

// FuzzQuestion: whatever comes, what goes back is well formed, no longer than
// welcome, and never an answer to an answer.
func FuzzQuestion(f *testing.F) {
	f.Add(query(f, "web1.", dnsmessage.TypeA, 1232), false)
	f.Add(query(f, "2.0.18.172.in-addr.arpa.", dnsmessage.TypePTR, 0), true)
	f.Add(query(f, "www.", dnsmessage.TypeALL, 40), false)
	f.Fuzz(func(t *testing.T, msg []byte, stream bool) {
		s := &server{view: sample().Of("web2", addrs("172.18.0.1", "fd00:1::1")), up: &Upstream{}}
		q, a := s.local(msg, stream)
		if q != nil {
			q.answeredBy(msg, binary.BigEndian.Uint16(msg))
			a = q.fail(rcodeServerFailure)
		}
		if a == nil {
			return
		}
		if msg[2]&0x80 != 0 {
			t.Fatal("answered an answer")
		}
		if len(a) > 65535 || !stream && len(a) > maxUDP {
			t.Fatalf("%d bytes", len(a))
		}
		var m dnsmessage.Message
		if err := m.Unpack(a); err != nil {
			t.Fatalf("%x: %v", a, err)
		}
		if !m.Response || m.ID != binary.BigEndian.Uint16(msg) {
			t.Fatalf("%+v", m.Header)
		}
	})
}
