// Package tarhead reads what stands before an entry of a tar stream: the header
// block, and the entries before it that only add to it (PAX records, long names
// of GNU). It knows the formats v7, ustar, PAX, star and GNU, and accepts what
// archive/tar accepts, with the same meaning, which a fuzz test of package layer
// checks. Unlike that it keeps the bytes, and leaves contents to its user.
package tarhead

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
)

const (
	BlockSize = 512 // of which a tar stream consists
	// maxSpecial bounds an extended header or a long name, as other readers
	// of tar do; maxHead all headers of one entry.
	maxSpecial = 1 << 20
	maxHead    = 8 << 20
)

// ErrInvalid says that something is not a header.
var ErrInvalid = errors.New("a header in its tar stream is not valid")

// Blocks returns the next len(room) bytes of a stream, where they lie or else
// in room, valid until the next call. Where the stream ends first it returns
// what there is, and why it ended.
type Blocks func(room []byte) ([]byte, error)

// Head is all that stands before the content of an entry.
type Head struct {
	tar.Header        // of PAXRecords only extended attributes are kept
	Raw        []byte // all blocks read for it
	Own        int    // where in Raw its own begin; before are global headers, which nobody heeds
	Holes      bool   // its records say that the content has holes

	room [BlockSize]byte
}

// Read reads the next head. At the end mark, or where the stream ends in its
// place, it returns io.EOF; Raw is then what there was.
func (h *Head) Read(next Blocks) error {
	h.Raw, h.Own, h.Holes = h.Raw[:0], 0, false
	var x extended
	for {
		raw, err := h.block(next)
		if err != nil {
			return err
		}
		h.Header = tar.Header{}
		if err := parse(&h.Header, raw); err != nil {
			return err
		}
		if h.Size < 0 && !HeaderOnly(h.Typeflag) {
			return ErrInvalid
		}
		switch h.Typeflag {
		case tar.TypeXHeader, tar.TypeXGlobalHeader, tar.TypeGNULongName, tar.TypeGNULongLink:
		default:
			h.Holes = x.holes
			if err := x.apply(&h.Header); err != nil {
				return err
			}
			if h.Size < 0 && !HeaderOnly(h.Typeflag) {
				return ErrInvalid
			}
			return nil
		}
		b, err := h.special(next)
		if err == nil {
			err = x.add(h.Typeflag, b)
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeXGlobalHeader { // an entry of its own
			h.Own = len(h.Raw)
		}
	}
}

// block reads a header block. Blocks of zeros end the archive.
func (h *Head) block(next Blocks) ([]byte, error) {
	b, err := h.read(next, BlockSize)
	if err != nil || !zero(b) {
		return b, err
	}
	if b, err = h.read(next, BlockSize); err == nil {
		err = ErrInvalid
		if zero(b) {
			err = io.EOF
		}
	}
	return nil, err
}

func zero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// read returns the next n bytes, at most a block, and keeps them.
func (h *Head) read(next Blocks, n int64) ([]byte, error) {
	if len(h.Raw) > maxHead {
		return nil, ErrInvalid
	}
	b, err := next(h.room[:n])
	h.Raw = append(h.Raw, b...)
	if err == io.EOF && len(b) > 0 {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// special returns the content of an entry that describes the next one.
func (h *Head) special(next Blocks) ([]byte, error) {
	size := h.Size
	if size > maxSpecial {
		return nil, ErrInvalid
	}
	start := len(h.Raw)
	for todo := size; todo > 0; {
		b, err := h.read(next, min(todo, BlockSize))
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		todo -= int64(len(b))
	}
	if pad := Padding(size); pad > 0 {
		b, err := next(h.room[:pad])
		h.Raw = append(h.Raw, b...)
		if err != nil {
			return nil, err // nobody misses padding at the end
		}
	}
	return h.Raw[start : start+int(size)], nil
}

// Padding returns how many bytes follow n bytes of content.
func Padding(n int64) int64 { return -n & (BlockSize - 1) }

// HeaderOnly reports whether entries of a kind have no content, whatever size
// they claim.
func HeaderOnly(kind byte) bool {
	switch kind {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo:
		return true
	}
	return false
}
