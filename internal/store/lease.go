package store

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"berth/internal/state"
)

// leaseFile is the name of the file that makes a temporary folder a lease.
const leaseFile = "layers.lease"

// Lease keeps layers from being collected while a process works towards an
// image that needs them. It ends with Close or with its process.
type Lease struct{ tmp *state.Temp }

// Lease protects layers, whether they are unpacked already or will be while it
// lasts. Take it before looking which of them are there.
func (s *Store) Lease(diffIDs []string) (*Lease, error) {
	hold, err := s.Hold()
	if err != nil {
		return nil, err
	}
	defer hold.Unlock()
	tmp, err := s.dir.Temp()
	if err != nil {
		return nil, err
	}
	err = state.WriteVolatile(tmp.Path(leaseFile), []byte(strings.Join(diffIDs, "\n")), 0o600)
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

// leased adds the layers that living processes have leased to layers.
func (s *Store) leased(layers map[string]bool) error {
	entries, err := os.ReadDir(s.dir.Path("tmp"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		owner, _, _ := strings.Cut(e.Name(), "-")
		if o, err := state.ParseOwner(owner); err != nil || !o.Alive() {
			continue
		}
		b, err := os.ReadFile(s.dir.Path("tmp", e.Name(), leaseFile))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for id := range strings.Lines(string(b)) {
			layers[strings.TrimSpace(id)] = true
		}
	}
	return nil
}
