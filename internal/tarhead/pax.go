package tarhead

import (
	"archive/tar"
	"bytes"
	"cmp"
	"strconv"
	"strings"
	"time"
)

// XattrRecord is how records spell extended attributes: this and their name.
const XattrRecord = "SCHILY.xattr."

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
		case strings.HasPrefix(k, XattrRecord):
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
				return ErrInvalid
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
		return nil, nil, nil, ErrInvalid
	}
	n -= int64(len(number) + 1)
	record, rest := body[:n], body[n:]
	if record[n-1] != '\n' {
		return nil, nil, nil, ErrInvalid
	}
	key, value, ok = bytes.Cut(record[:n-1], []byte("="))
	if !ok || len(key) == 0 {
		return nil, nil, nil, ErrInvalid
	}
	checked := key
	switch string(key) {
	case "path", "linkpath", "uname", "gname":
		checked = value
	}
	if bytes.IndexByte(checked, 0) >= 0 {
		return nil, nil, nil, ErrInvalid
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
		return ErrInvalid
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
