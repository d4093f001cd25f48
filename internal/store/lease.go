package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"berth/internal/state"
)

// leaseFile is the name of the file that makes a temporary folder a lease.
const leaseFile = "layers.lease"

// everything is what a lease says that names no layers: it keeps all.
const everything = "*"

// Lease keeps layers and blobs of layers from being collected while a process
// works towards an image that needs them. It ends with Close or with its
// process.
type Lease struct{ tmp *state.Temp }

// Lease protects layers by their diff IDs and blobs by their digests, whether
// they are there already or will be while it lasts. Take it before looking
// which of them are there.
func (s *Store) Lease(digests []string) (*Lease, error) { return s.lease(digests) }

// LeaseAll protects everything: for who reads an archive that tells only at its
// end what is in it.
func (s *Store) LeaseAll() (*Lease, error) { return s.lease([]string{everything}) }

func (s *Store) lease(digests []string) (*Lease, error) {
	hold, err := s.Hold()
	if err != nil {
		return nil, err
	}
	defer hold.Unlock()
	tmp, err := s.dir.Temp()
	if err != nil {
		return nil, err
	}
	err = state.WriteVolatile(tmp.Path(leaseFile), []byte(strings.Join(digests, "\n")), 0o600)
	if err != nil {
		tmp.Close()
		return nil, err
	}
	return &Lease{tmp: tmp}, nil
}

// Close ends the lease. It may be called more than once.
func (l *Lease) Close() error {
	if l == nil || l.tmp == nil {
		return nil
	}
	tmp := l.tmp
	l.tmp = nil
	return tmp.Close()
}

// leases is what living processes have leased.
type leases map[string]bool

func (l leases) holds(digest string) bool { return l[digest] || l[everything] }

// leased reads the leases of living processes.
func (s *Store) leased() (leases, error) {
	dir := s.dir.TempPath("layers")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	out := leases{}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !s.dir.Lives(path) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(path, leaseFile))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for digest := range strings.Lines(string(b)) {
			out[strings.TrimSpace(digest)] = true
		}
	}
	return out, nil
}
