package names

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	rcodeServerFailure = dnsmessage.RCodeServerFailure

	headerLen = 12
	minUDP    = 512 // what everybody takes in a datagram, RFC 1035 section 4.2.1
	// ttl is zero, as who is connected may change at any moment, and asking again
	// costs nothing.
	ttl = 0
)

// Types of questions that are answered in other ways than by their records.
const (
	typeIXFR dnsmessage.Type = 251
	typeAXFR dnsmessage.Type = 252
)

// question is a message with one question that may be answered or passed on.
type question struct {
	msg   []byte // as it came
	id    uint16
	rd    bool // wants recursion
	q     dnsmessage.Question
	name  string // of q, in lower case, without the dot at the end
	edns  bool   // EDNS is spoken, RFC 6891
	size  int    // of the datagrams that are welcome
	limit int    // of the answer's length
}

// parse reads a message. Where it is none that is answered or passed on, the
// question is nil and there may be a refusal to send back.
func parse(msg []byte, stream bool) (*question, []byte) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.Response {
		return nil, nil // an answer to it could be a question to the next server, and so on
	}
	r := question{id: h.ID, rd: h.RecursionDesired}
	if h.OpCode != 0 {
		return nil, r.bare(dnsmessage.RCodeNotImplemented)
	}
	if binary.BigEndian.Uint16(msg[4:]) != 1 {
		return nil, r.bare(dnsmessage.RCodeFormatError)
	}
	q, err := p.Question()
	if err != nil {
		return nil, r.bare(dnsmessage.RCodeFormatError)
	}
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	r = question{msg: slices.Clone(msg), id: h.ID, rd: h.RecursionDesired, q: q, name: name, size: minUDP}
	if !r.options(&p) {
		return nil, r.fail(dnsmessage.RCodeFormatError)
	}
	r.limit = min(r.size, maxUDP)
	if stream {
		r.limit = 1<<16 - 1
	}
	if q.Type == typeAXFR || q.Type == typeIXFR || q.Class != dnsmessage.ClassINET {
		return nil, r.fail(dnsmessage.RCodeRefused)
	}
	return &r, nil
}

// options reads what comes behind the question. It is false for nonsense.
func (q *question) options(p *dnsmessage.Parser) bool {
	if p.SkipAllQuestions() != nil || p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return false
	}
	for {
		h, err := p.AdditionalHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return true
		}
		if err != nil {
			return false
		}
		if h.Type == dnsmessage.TypeOPT {
			q.edns = true
			q.size = max(int(h.Class), minUDP)
		}
		if p.SkipAdditional() != nil {
			return false
		}
	}
}

// answer answers from what the container sees, or returns nil.
func (q *question) answer(v View) []byte {
	if q.q.Type == dnsmessage.TypePTR {
		addr, ok := reverse(q.name)
		if !ok {
			return nil
		}
		name, ok := v.Name(addr)
		if !ok {
			return nil
		}
		target, err := dnsmessage.NewName(name + ".")
		if name == "" || err != nil {
			return q.fail(dnsmessage.RCodeNameError)
		}
		return q.build(func(b *dnsmessage.Builder, h dnsmessage.ResourceHeader) error {
			return b.PTRResource(h, dnsmessage.PTRResource{PTR: target})
		})
	}
	addrs, ok := v.Addresses(q.name)
	if !ok {
		return nil
	}
	// A name that we know has no other records, and no address but these; who
	// asked the host's servers for them would hear that there is no such name.
	return q.addresses(addrs)
}

// addresses answers with those that were asked for, in a new order each time, so
// that containers that share a name share the work.
func (q *question) addresses(addrs []netip.Addr) []byte {
	wanted := make([]netip.Addr, 0, len(addrs))
	for _, a := range addrs {
		any := q.q.Type == dnsmessage.TypeALL
		if any || a.Is4() && q.q.Type == dnsmessage.TypeA || !a.Is4() && q.q.Type == dnsmessage.TypeAAAA {
			wanted = append(wanted, a)
		}
	}
	rand.Shuffle(len(wanted), func(i, j int) { wanted[i], wanted[j] = wanted[j], wanted[i] })
	records := make([]func(*dnsmessage.Builder, dnsmessage.ResourceHeader) error, len(wanted))
	for i, a := range wanted {
		records[i] = func(b *dnsmessage.Builder, h dnsmessage.ResourceHeader) error {
			if a.Is4() {
				return b.AResource(h, dnsmessage.AResource{A: a.As4()})
			}
			return b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
	return q.build(records...)
}

// build makes a positive answer of as many records as have room.
func (q *question) build(records ...func(*dnsmessage.Builder, dnsmessage.ResourceHeader) error) []byte {
	const longest = 2 + 10 + 256 // a record: its owner's name as a reference, its header, a name
	room := q.limit - headerLen - len(q.q.Name.String()) - 1 - 4 - 11
	each := 2 + 10 + 16
	if q.q.Type == dnsmessage.TypePTR {
		each = longest
	}
	h := q.header(dnsmessage.RCodeSuccess)
	if n := max(room, each) / each; len(records) > n {
		records, h.Truncated = records[:n], true
	}
	b := dnsmessage.NewBuilder(make([]byte, 0, minUDP), h)
	b.EnableCompression()
	err := errors.Join(b.StartQuestions(), b.Question(q.q), b.StartAnswers())
	for _, r := range records {
		if err == nil {
			err = r(&b, dnsmessage.ResourceHeader{Name: q.q.Name, Class: dnsmessage.ClassINET, TTL: ttl})
		}
	}
	return q.finish(&b, err)
}

func (q *question) header(code dnsmessage.RCode) dnsmessage.Header {
	return dnsmessage.Header{
		ID: q.id, Response: true, RecursionDesired: q.rd, RecursionAvailable: true,
		Authoritative: code == dnsmessage.RCodeSuccess || code == dnsmessage.RCodeNameError, RCode: code,
	}
}

// fail answers with an error.
func (q *question) fail(code dnsmessage.RCode) []byte {
	b := dnsmessage.NewBuilder(make([]byte, 0, minUDP), q.header(code))
	return q.finish(&b, errors.Join(b.StartQuestions(), b.Question(q.q)))
}

// bare is an error that does not repeat the question, where there is none.
func (q *question) bare(code dnsmessage.RCode) []byte {
	b := dnsmessage.NewBuilder(nil, q.header(code))
	msg, err := b.Finish()
	if err != nil {
		return nil
	}
	return msg
}

// finish adds that we speak EDNS to an answer to somebody who does.
func (q *question) finish(b *dnsmessage.Builder, err error) []byte {
	if err == nil && q.edns {
		var h dnsmessage.ResourceHeader
		err = errors.Join(h.SetEDNS0(maxUDP, dnsmessage.RCodeSuccess, false), b.StartAdditionals(), b.OPTResource(h, dnsmessage.OPTResource{}))
	}
	if err != nil {
		return nil
	}
	msg, err := b.Finish()
	if err != nil {
		return nil
	}
	return msg
}

// reverse reads the address in a name below in-addr.arpa or ip6.arpa.
func reverse(name string) (netip.Addr, bool) {
	if text, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		parts := strings.Split(text, ".")
		slices.Reverse(parts)
		a, err := netip.ParseAddr(strings.Join(parts, "."))
		return a, err == nil && a.Is4()
	}
	text, ok := strings.CutSuffix(name, ".ip6.arpa")
	parts := strings.Split(text, ".")
	if !ok || len(parts) != 32 {
		return netip.Addr{}, false
	}
	var b [16]byte
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 16, 4)
		if err != nil || len(p) != 1 {
			return netip.Addr{}, false
		}
		b[15-i/2] |= byte(n) << (4 * (i % 2))
	}
	return netip.AddrFrom16(b), true
}

// readMessage reads a message from a stream, RFC 1035 section 4.2.2.
func readMessage(r io.Reader) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(head[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}

func writeMessage(w io.Writer, msg []byte) error {
	if len(msg) > 1<<16-1 {
		return errors.New("the message is too long")
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg))), msg...))
	return err
}
