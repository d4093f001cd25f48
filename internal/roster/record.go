package roster

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"berth/internal/state"
)

// Record is config.json in a container's folder: the request as it was made,
// completed from the image. It changes only by a rename or an update.
type Record struct {
	V         int                    `json:"v"`
	ID        string                 `json:"id"`
	Name      string                 `json:"name"`
	Created   time.Time              `json:"created"`
	Image     string                 `json:"image"` // as asked for
	ImageID   string                 `json:"imageID"`
	Layers    []string               `json:"layers"`        // diff IDs, bottom first
	Driver    string                 `json:"driver"`        // overlay or copy
	IDs       string                 `json:"ids,omitempty"` // Ranges: an account's, with more ids than its own
	Platform  string                 `json:"platform"`
	Run       bool                   `json:"run,omitempty"` // made to be started at once
	Mounts    []container.MountPoint `json:"mounts"`
	Anonymous []string               `json:"anonymousVolumes,omitempty"`
	Fill      []string               `json:"fillVolumes,omitempty"` // when empty, from the image
	Config    *container.Config      `json:"config"`
	// StrictLimits refuses a start without all of its limits.
	StrictLimits bool                  `json:"strictLimits,omitempty"`
	HostConfig   *container.HostConfig `json:"hostConfig"`
	// Networks are its places in networks, by their names, as they were asked
	// for; none for one with the network of the host or of another container. Nil
	// with the network mode default stands for the default network.
	Networks map[string]*network.EndpointSettings `json:"networks,omitzero"`
}

// Ranges in Record.IDs says that the container has the ids of /etc/subuid and
// /etc/subgid.
const Ranges = "ranges"

// NewID makes up the ID of a container.
func NewID() string {
	var b [32]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// ShortID is how people see an ID.
func ShortID(id string) string {
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

// Elsewhere returns the records of containers on other machines that share the
// data root: they use its layers and volumes, and nothing else of them is here.
func (s *Set) Elsewhere() ([]*Record, error) {
	paths, err := s.dir.Announced()
	if err != nil {
		return nil, err
	}
	var out []*Record
	for _, p := range paths {
		r := new(Record)
		err := state.ReadJSON(p, r)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("cannot tell what a container of another machine uses: %w", err)
		}
		out = append(out, r)
	}
	return out, nil
}

// Write syncs the record of a container that is meant to last.
func (s *Set) Write(dir string, r *Record) error {
	b, err := marshalRecord(r)
	if err != nil {
		return err
	}
	write := state.WriteFile
	if r.HostConfig.AutoRemove {
		write = state.WriteVolatile
	}
	if err := s.dir.Announce(r.ID, b); err != nil {
		return err
	}
	return write(dir+"/"+RecordFile, b, 0o600)
}

func marshalRecord(r *Record) ([]byte, error) {
	b, err := json.Marshal(r)
	return append(b, '\n'), err
}
