package rows

import (
	"time"

	"github.com/moby/moby/api/types/container"

	"berth/internal/cli/format"
)

// PublicColumns are those of `ps --all-users`.
func PublicColumns() []string { return []string{"Owner", "Names", "Image", "Since", "GPUs", "Ports"} }

// Public is somebody's container, as far as everybody may know of it.
type Public struct {
	GPUs  string
	ID    string `header:"CONTAINER ID"`
	Image string
	Names string
	Owner string
	Ports string
	Since string
}

// NewPublic makes the row of a container; trunc cuts what is long.
func NewPublic(owner, id, name, image, gpus string, since time.Time, ports []container.PortSummary, now time.Time, trunc bool) Public {
	r := Public{GPUs: gpus, ID: id, Image: image, Names: name, Owner: owner, Ports: portsText(ports), Since: format.Ago(now, since)}
	if trunc {
		r.ID = format.ShortID(id)
	}
	return r
}
