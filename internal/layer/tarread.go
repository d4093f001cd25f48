package layer

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

const (
	blockSize = 512
	// maxSpecial bounds an extended header or a long name, as other readers
	// of tar do; maxHead all headers of one entry.
	maxSpecial = 1 << 20
	maxHead    = 8 << 20
)

var errHeader = errors.New("a header in its tar stream is not valid")

// tarReader reads the entries of a tar stream: those of v7, ustar, PAX, star
// and GNU. It accepts what archive/tar accepts, with the same meaning (a fuzz
// test compares them), but does not copy contents, and tells a recipe all that
// is not the content of a file. Files with holes, which are rare and come in
// four formats, it leaves to archive/tar.
type tarReader struct {
	s      *stream
	recipe *recipe // may be nil

	h    tar.Header // of the current entry
	head []byte     // all its header blocks so far
	left int64      // of its content
	pad  int64      // behind its content
	room [blockSize]byte

	sparse *tar.Reader // reads the content of a file with holes
}

// next moves to the next entry. The header is valid until the following call.
// At the end mark it returns io.EOF.
func (t *tarReader) next() (*tar.Header, error) {
	if err := t.skip(); err != nil {
		return nil, err
	}
	t.head, t.sparse, t.h = t.head[:0], nil, tar.Header{}
	holes, err := t.headers()
	if err == nil || err == io.EOF {
		t.recipe.raw(t.head)
	}
	if err == nil {
		err = t.content(holes)
	}
	return &t.h, err
}

// headers reads the header of an entry and those before it that add to it. It
// reports whether they speak of holes.
func (t *tarReader) headers() (holes bool, err error) {
	var x extended
	for {
		raw, err := t.header()
		if err != nil {
			return false, err
		}
		t.h = tar.Header{}
		if err := parseHeader(&t.h, raw); err != nil {
			return false, err
		}
		if t.h.Size < 0 && !headerOnly(t.h.Typeflag) {
			return false, errHeader
		}
		switch t.h.Typeflag {
		case tar.TypeXHeader, tar.TypeXGlobalHeader, tar.TypeGNULongName, tar.TypeGNULongLink:
		default:
			return x.holes, x.apply(&t.h)
		}
		b, err := t.special()
		if err == nil {
			err = x.add(t.h.Typeflag, b)
		}
		if err != nil {
			return false, err
		}
		if t.h.Typeflag == tar.TypeXGlobalHeader { // an entry of its own
			t.recipe.raw(t.head)
			t.head = t.head[:0]
		}
	}
}

// skip passes what is left of the current entry.
func (t *tarReader) skip() error {
	for t.left > 0 {
		b, err := t.s.take(t.left)
		if err != nil {
			return unexpected(err)
		}
		t.recipe.raw(b)
		t.left -= int64(len(b))
	}
	for t.pad > 0 {
		b, err := t.s.take(t.pad)
		if err != nil {
			return err // nobody misses padding at the end
		}
		t.recipe.raw(b)
		t.pad -= int64(len(b))
	}
	return nil
}

// header reads a header block. Blocks of zeros end the archive.
func (t *tarReader) header() ([]byte, error) {
	b, err := t.read(blockSize)
	if err != nil || !allZero(b) {
		return b, err
	}
	if b, err = t.read(blockSize); err == nil {
		err = errHeader
		if allZero(b) {
			err = io.EOF
		}
	}
	return nil, err
}

// read returns the next n bytes, at most a block, and adds them to the head.
func (t *tarReader) read(n int64) ([]byte, error) {
	if len(t.head) > maxHead {
		return nil, errHeader
	}
	b, err := t.s.block(t.room[:n])
	t.head = append(t.head, b...)
	if err == io.EOF && len(b) > 0 {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// special returns the content of an entry that describes the next one.
func (t *tarReader) special() ([]byte, error) {
	size := t.h.Size
	if size > maxSpecial {
		return nil, errHeader
	}
	start := len(t.head)
	for todo := size; todo > 0; {
		b, err := t.read(min(todo, blockSize))
		if err != nil {
			return nil, unexpected(err)
		}
		todo -= int64(len(b))
	}
	if pad := padding(size); pad > 0 {
		b, err := t.s.block(t.room[:pad])
		t.head = append(t.head, b...)
		if err != nil {
			return nil, err // nobody misses padding at the end
		}
	}
	return t.head[start : start+int(size)], nil
}

func padding(n int64) int64 { return -n & (blockSize - 1) }

// content prepares for the content of the current entry.
func (t *tarReader) content(holes bool) error {
	if t.h.Size < 0 && !headerOnly(t.h.Typeflag) {
		return errHeader
	}
	if t.h.Typeflag == tar.TypeGNUSparse || holes {
		return t.openSparse()
	}
	if !headerOnly(t.h.Typeflag) {
		t.left, t.pad = t.h.Size, padding(t.h.Size)
	}
	return nil
}

func headerOnly(kind byte) bool {
	switch kind {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo:
		return true
	}
	return false
}

// take returns the next piece of the content, at least one byte; the recipe
// must have been told of the file. The piece is valid until the next call.
func (t *tarReader) take() ([]byte, error) {
	b, err := t.s.take(t.left)
	if err != nil {
		return nil, unexpected(err)
	}
	t.left -= int64(len(b))
	return b, nil
}

// openSparse hands the current entry to archive/tar: its headers once more,
// then the stream. What that reads is all told to the recipe.
func (t *tarReader) openSparse() error {
	size, old := t.h.Size, t.h.Typeflag == tar.TypeGNUSparse
	if headerOnly(t.h.Typeflag) {
		size = 0
	}
	src := &tarRest{t: t}
	r := tar.NewReader(io.MultiReader(bytes.NewReader(t.head), src))
	h, err := r.Next()
	if err != nil {
		if errors.Is(err, tar.ErrHeader) {
			err = errHeader
		}
		return unexpected(err)
	}
	// The old format has more headers, which do not count as content.
	t.left, t.pad = size, padding(size)
	if !old {
		t.left -= src.n
	}
	src.counts = true
	t.h, t.sparse = *h, r
	return nil
}

// tarRest is the stream as archive/tar sees it.
type tarRest struct {
	t      *tarReader
	n      int64
	counts bool
}

func (r *tarRest) Read(p []byte) (int, error) {
	limit := int64(len(p))
	if r.counts {
		limit = min(limit, r.t.left)
		if limit == 0 {
			return 0, io.EOF
		}
	}
	b, err := r.t.s.take(limit)
	r.t.recipe.raw(b)
	n := copy(p, b)
	r.n += int64(n)
	if r.counts {
		r.t.left -= int64(n)
	}
	return n, err
}

// drain reads to the end: the digest is that of all bytes, also of those
// behind the end mark of the archive.
func (t *tarReader) drain() error {
	for {
		b, err := t.s.take(chunkSize)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &readError{err}
		}
		t.recipe.raw(b)
	}
}

// parseHeader reads a header block.
func parseHeader(h *tar.Header, b []byte) error {
	var p numbers
	if !sumFits(b, p.octal(b[148:156])) || p.bad {
		return errHeader
	}
	h.Typeflag = b[156]
	h.Name, h.Linkname = cString(b[:100]), cString(b[157:257])
	h.Size, h.Mode = p.number(b[124:136]), p.number(b[100:108])
	h.Uid, h.Gid = int(p.number(b[108:116])), int(p.number(b[116:124]))
	h.ModTime = time.Unix(p.number(b[136:148]), 0)
	var prefix string
	switch magic := string(b[257:265]); {
	case strings.HasPrefix(magic, "ustar\x00") && string(b[508:]) == "tar\x00": // star
		prefix = cString(b[345:476])
		p.number(b[476:488])
		p.number(b[488:500])
	case strings.HasPrefix(magic, "ustar\x00"):
		prefix = cString(b[345:500])
	case magic == "ustar  \x00":
		prefix = gnuPrefix(b)
	default: // v7 has no more
		if p.bad {
			return errHeader
		}
		return nil
	}
	h.Devmajor, h.Devminor = p.number(b[329:337]), p.number(b[337:345])
	if prefix != "" {
		h.Name = prefix + "/" + h.Name
	}
	if p.bad {
		return errHeader
	}
	return nil
}

// gnuPrefix returns what old writers of Go put where GNU has times.
func gnuPrefix(b []byte) string {
	var p numbers
	for _, field := range [][]byte{b[345:357], b[357:369]} {
		if field[0] != 0 {
			p.number(field)
		}
	}
	if !p.bad {
		return ""
	}
	s := cString(b[345:500])
	for _, c := range []byte(s) {
		if c >= 0x80 {
			return ""
		}
	}
	return s
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// sumFits reports whether the checksum of a header is right, as unsigned or,
// as some old writers had it, signed bytes. Its own field counts as spaces.
func sumFits(b []byte, want int64) bool {
	var sum, high int64
	for _, c := range b {
		sum += int64(c)
		high += int64(c >> 7)
	}
	for _, c := range b[148:156] {
		sum += ' ' - int64(c)
		high -= int64(c >> 7)
	}
	return want == sum || want == sum-high*256
}

// numbers parses the numeric fields of headers and remembers failure.
type numbers struct{ bad bool }

// number reads an octal field, or one in base 256.
func (p *numbers) number(b []byte) int64 {
	if b[0]&0x80 == 0 {
		return p.octal(b)
	}
	// A two's complement number; the topmost bit only says that it is one.
	fill := byte(0)
	if b[0]&0x40 != 0 {
		fill = 0xff
	}
	x := uint64(0)
	for i, c := range b {
		c ^= fill
		if i == 0 {
			c &= 0x7f
		}
		if x>>56 != 0 {
			p.bad = true
			return 0
		}
		x = x<<8 | uint64(c)
	}
	if x>>63 != 0 {
		p.bad = true
		return 0
	}
	if fill != 0 {
		return ^int64(x)
	}
	return int64(x)
}

// octal reads an octal number with spaces and zero bytes around it.
func (p *numbers) octal(b []byte) int64 {
	for len(b) > 0 && (b[0] == ' ' || b[0] == 0) {
		b = b[1:]
	}
	x := int64(0)
	for i, c := range b {
		switch {
		case c >= '0' && c <= '7':
			x = x<<3 | int64(c-'0')
			continue
		case c == ' ':
			if len(bytes.Trim(b[i:], " \x00")) > 0 {
				p.bad = true
			}
		case c != 0: // which ends it, whatever follows
			p.bad = true
		}
		break
	}
	return x
}

// extended collects what stands before the header of an entry.
type extended struct {
	path, link, size, uid, gid string
	mtime, atime, ctime        string
	longName, longLink         string
	xattrs                     map[string]string // with the prefix of their records
	holes                      bool
}

// add takes the content of an entry that describes the next one.
func (x *extended) add(kind byte, b []byte) error {
	switch kind {
	case tar.TypeXHeader:
		return x.parse(b)
	case tar.TypeXGlobalHeader:
		// It speaks of all entries that follow, which nobody heeds, and
		// what came before it is lost.
		err := x.parse(b)
		*x = extended{}
		return err
	case tar.TypeGNULongName:
		x.longName = cString(b)
	case tar.TypeGNULongLink:
		x.longLink = cString(b)
	}
	return nil
}

// parse reads the records of a PAX header, which replace those before.
func (x *extended) parse(b []byte) error {
	*x = extended{longName: x.longName, longLink: x.longLink}
	offsets := 0
	for len(b) > 0 {
		key, value, rest, err := paxRecord(b)
		if err != nil {
			return err
		}
		b = rest
		if field := x.field(string(key)); field != nil {
			*field = string(value)
			continue
		}
		switch k := string(key); {
		case strings.HasPrefix(k, xattrRecord):
			if x.xattrs == nil {
				x.xattrs = map[string]string{}
			}
			x.xattrs[k] = string(value)
		case strings.HasPrefix(k, "GNU.sparse."):
			x.holes = true
			offset, length := k == "GNU.sparse.offset", k == "GNU.sparse.numbytes"
			if !offset && !length {
				continue
			}
			if offset != (offsets%2 == 0) || bytes.IndexByte(value, ',') >= 0 {
				return errHeader
			}
			offsets++
		}
	}
	return nil
}

// field returns where a record goes that replaces a field of the header.
func (x *extended) field(key string) *string {
	switch key {
	case "path":
		return &x.path
	case "linkpath":
		return &x.link
	case "size":
		return &x.size
	case "uid":
		return &x.uid
	case "gid":
		return &x.gid
	case "mtime":
		return &x.mtime
	case "atime":
		return &x.atime
	case "ctime":
		return &x.ctime
	}
	return nil
}

// paxRecord takes "LENGTH KEY=VALUE\n" from b.
func paxRecord(b []byte) (key, value, rest []byte, err error) {
	number, body, ok := bytes.Cut(b, []byte(" "))
	n, err := strconv.ParseInt(string(number), 10, 0)
	if !ok || err != nil || n < 5 || n > int64(len(b)) || n <= int64(len(number)+1) {
		return nil, nil, nil, errHeader
	}
	n -= int64(len(number) + 1)
	record, rest := body[:n], body[n:]
	if record[n-1] != '\n' {
		return nil, nil, nil, errHeader
	}
	key, value, ok = bytes.Cut(record[:n-1], []byte("="))
	if !ok || len(key) == 0 {
		return nil, nil, nil, errHeader
	}
	checked := key
	switch string(key) {
	case "path", "linkpath", "uname", "gname":
		checked = value
	}
	if bytes.IndexByte(checked, 0) >= 0 {
		return nil, nil, nil, errHeader
	}
	return key, value, rest, nil
}

// apply lays the records over a header. Empty ones change nothing.
func (x *extended) apply(h *tar.Header) error {
	uid, gid := int64(h.Uid), int64(h.Gid)
	var atime, ctime time.Time // must be right, nobody wants them
	ok := setNumber(&h.Size, x.size) && setNumber(&uid, x.uid) && setNumber(&gid, x.gid) &&
		setTime(&h.ModTime, x.mtime) && setTime(&atime, x.atime) && setTime(&ctime, x.ctime)
	if !ok {
		return errHeader
	}
	h.Uid, h.Gid = int(uid), int(gid)
	h.Name = cmp.Or(x.longName, x.path, h.Name)
	h.Linkname = cmp.Or(x.longLink, x.link, h.Linkname)
	h.PAXRecords = x.xattrs
	if h.Typeflag == '\x00' { // how v7 says it
		h.Typeflag = tar.TypeReg
		if strings.HasSuffix(h.Name, "/") {
			h.Typeflag = tar.TypeDir
		}
	}
	return nil
}

func setNumber(to *int64, text string) bool {
	if text == "" {
		return true
	}
	n, err := strconv.ParseInt(text, 10, 64)
	*to = n
	return err == nil
}

// setTime reads seconds, perhaps negative, with any number of decimals, of
// which nine count.
func setTime(to *time.Time, text string) bool {
	if text == "" {
		return true
	}
	whole, fraction, _ := strings.Cut(text, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	nsec, unit := int64(0), int64(1e8)
	for i := range len(fraction) {
		c := fraction[i]
		if c < '0' || c > '9' {
			return false
		}
		nsec += int64(c-'0') * unit
		unit /= 10
	}
	if whole != "" && whole[0] == '-' {
		nsec = -nsec
	}
	*to = time.Unix(sec, nsec)
	return err == nil
}
