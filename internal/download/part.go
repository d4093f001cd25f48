package download

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/state"
)

// errOther says that a chunk in the part file is not what the journal says.
var errOther = errors.New("chunk is not what its journal says")

// part is the part file of a download and its journal, both held by this
// process alone. Order matters wherever a SIGKILL may fall between two steps:
// no record is there before its chunk, and what a record speaks of goes after
// the record, except at the very end, where the big file goes first: a journal
// without its part file means nothing to anybody.
type part struct {
	head    header
	salt    uint32
	path    string
	mapPath string
	lock    *state.Tx
	f       *os.File
	journal *os.File
	gone    bool // the names are not ours any more
}

// openPart takes hold of the files of a blob, waiting for whoever has them, and
// tells found of each chunk that they hold.
func openPart(ctx context.Context, dir string, h header, found func(record)) (*part, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the folder for downloads: %w", err)
	}
	base := filepath.Join(dir, hex.EncodeToString(h.sum[:]))
	p := &part{head: h, salt: h.salt(), path: base + ".part", mapPath: base + ".map"}
	var err error
	if p.lock, err = waitLock(ctx, p.mapPath); err != nil {
		return nil, err
	}
	p.journal, err = os.OpenFile(p.mapPath, os.O_RDWR|os.O_APPEND, 0)
	if err == nil {
		p.f, err = os.OpenFile(p.path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	}
	if err == nil {
		err = p.load(found)
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("cannot open download: %w", err)
	}
	return p, nil
}

// waitLock is state.Lock that ends with its context.
func waitLock(ctx context.Context, path string) (*state.Tx, error) {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		tx, err := state.TryLock(path)
		if !errors.Is(err, state.ErrLocked) {
			return tx, err
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// load reads the journal. One of another blob or another version, or longer
// than any of this blob can be, is no good, nor is the part file beside it.
func (p *part) load(found func(record)) error {
	info, err := p.f.Stat()
	if err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(p.journal, p.head.journalLimit()+1))
	if err != nil {
		return err
	}
	h, ok := parseHeader(b)
	if !ok || h != p.head || int64(len(b)) > p.head.journalLimit() || info.Size() == 0 {
		return p.reset()
	}
	if torn := (len(b) - headerSize) % recordSize; torn > 0 {
		if err := p.journal.Truncate(int64(len(b) - torn)); err != nil {
			return err
		}
	}
	if info.Size() > h.size {
		if err := p.f.Truncate(h.size); err != nil {
			return err
		}
	}
	parseRecords(h, b[headerSize:], func(r record) {
		if int64(r.index)*h.chunk+int64(h.length(int(r.index))) <= info.Size() {
			found(r)
		}
	})
	return nil
}

// reset begins anew.
func (p *part) reset() error {
	if err := p.journal.Truncate(0); err != nil {
		return err
	}
	if err := p.f.Truncate(0); err != nil {
		return err
	}
	_, err := p.journal.Write(p.head.encode())
	return err
}

// write stores chunk i and returns its checksum.
func (p *part) write(i int, b []byte) (uint32, error) {
	sum := checksum(b)
	if _, err := p.f.WriteAt(b, int64(i)*p.head.chunk); err != nil {
		return 0, fmt.Errorf("cannot keep download: %w", err)
	}
	if _, err := p.journal.Write(record{index: uint32(i), sum: sum}.encode(p.salt)); err != nil {
		return 0, fmt.Errorf("cannot keep download: %w", err)
	}
	return sum, nil
}

// read fills b with chunk i, which has that checksum. After any error the chunk
// is to be fetched again.
func (p *part) read(i int, b []byte, sum uint32) error {
	_, err := p.f.ReadAt(b, int64(i)*p.head.chunk)
	if err == nil && checksum(b) != sum {
		err = errOther
	}
	return err
}

// keep makes the part file the file at path, on disk for good.
func (p *part) keep(path string) error {
	if err := p.f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(p.path, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// remove unlinks both files, once: whoever waits for the lock makes new ones
// under the same names.
func (p *part) remove() error {
	if p.gone {
		return nil
	}
	p.gone = true
	return removeFiles(p.path, p.mapPath)
}

func removeFiles(paths ...string) error {
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// close lets go of the files.
func (p *part) close() {
	if p.f != nil {
		p.f.Close()
	}
	if p.journal != nil {
		p.journal.Close()
	}
	p.lock.Unlock()
}
