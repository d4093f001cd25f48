package rows

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"berth/internal/cli/format"
)

// ContainerColumns are those of the plain table.
func ContainerColumns(size bool) []string {
	columns := []string{"ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"}
	if size {
		columns = append(columns, "Size")
	}
	return columns
}

// ContainerRaw is the template behind --format raw.
func ContainerRaw(size bool) string {
	raw := "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n" +
		"state: {{.State}}\nstatus: {{.Status}}\nnames: {{.Names}}\nlabels: {{.Labels}}\nports: {{.Ports}}\n"
	if size {
		raw += "size: {{.Size}}\n"
	}
	return raw
}

// Container is a container in a list. The fields stand in the order of their
// names, as in Docker's JSON.
type Container struct {
	Command      string
	CreatedAt    string `header:"CREATED AT"`
	HealthStatus string `header:"HEALTH STATUS"`
	ID           string `header:"CONTAINER ID"`
	Image        string
	Labels       string
	LocalVolumes string `header:"LOCAL VOLUMES"`
	Mounts       string
	Names        string
	Networks     string
	Platform     *string
	Ports        string
	RunningFor   string `header:"CREATED"`
	Size         string
	State        string
	Status       string

	labels map[string]string
}

// Label returns one label of the container.
func (r Container) Label(name string) string { return r.labels[name] }

// NewContainer makes the row of a container; trunc cuts what is long.
func NewContainer(s container.Summary, now time.Time, trunc bool) Container {
	r := Container{
		ID: s.ID, Image: s.Image, Labels: format.Pairs(s.Labels), Ports: portsText(s.Ports),
		State: string(s.State), Status: s.Status, labels: s.Labels,
		CreatedAt:  time.Unix(s.Created, 0).String(),
		RunningFor: format.Ago(now, time.Unix(s.Created, 0)),
		Size:       format.Size(s.SizeRw),
	}
	if s.SizeRootFs > 0 {
		r.Size += " (virtual " + format.Size(s.SizeRootFs) + ")"
	}
	command := s.Command
	if trunc {
		r.ID = format.ShortID(s.ID)
		command = format.Shorten(command, 20)
		r.Image = shortImage(s)
	}
	r.Command = strconv.Quote(command)
	if s.Health != nil && s.Health.Status != container.NoHealthcheck {
		r.HealthStatus = string(s.Health.Status)
	}
	var names, mounts []string
	for _, n := range s.Names {
		names = append(names, strings.TrimPrefix(n, "/"))
	}
	local := 0
	for _, m := range s.Mounts {
		name := cmp.Or(m.Name, m.Source)
		if trunc {
			name = format.Shorten(name, 15)
		}
		mounts = append(mounts, name)
		if m.Driver == "local" {
			local++
		}
	}
	r.Names, r.Mounts, r.LocalVolumes = strings.Join(names, ","), strings.Join(mounts, ","), strconv.Itoa(local)
	if s.NetworkSettings != nil {
		r.Networks = strings.Join(slices.Sorted(maps.Keys(s.NetworkSettings.Networks)), ",")
	}
	return r
}

// shortImage cuts the name of an image where that is an ID or has a digest.
func shortImage(s container.Summary) string {
	if s.Image == "" {
		return "<no image>"
	}
	id := strings.TrimPrefix(s.ImageID, "sha256:")
	if given := strings.TrimPrefix(s.Image, "sha256:"); len(given) >= 12 && strings.HasPrefix(id, given) {
		return format.ShortID(id)
	}
	name, _, _ := strings.Cut(s.Image, "@")
	return name
}

// portsText writes ports as "0.0.0.0:8080->80/tcp, 443/tcp", neighbours as a
// range.
func portsText(ports []container.PortSummary) string {
	type group struct {
		ip          string
		first, last uint16
		public      uint16
		proto       string
	}
	slices.SortFunc(ports, func(x, y container.PortSummary) int {
		return cmp.Or(cmp.Compare(x.PrivatePort, y.PrivatePort), x.IP.Compare(y.IP), cmp.Compare(x.Type, y.Type), cmp.Compare(x.PublicPort, y.PublicPort))
	})
	var groups []*group
next:
	for _, p := range ports {
		ip := ipText(p.IP)
		for _, g := range groups {
			follows := p.PrivatePort == g.last+1 && p.Type == g.proto && ip == g.ip
			if follows && (p.PublicPort == 0 && g.public == 0 || p.PublicPort != 0 && g.public != 0 && p.PublicPort == g.public+(p.PrivatePort-g.first) && g.public == g.first) {
				g.last = p.PrivatePort
				continue next
			}
		}
		groups = append(groups, &group{ip, p.PrivatePort, p.PrivatePort, p.PublicPort, p.Type})
	}
	var out []string
	for _, g := range groups {
		text := portNumbers(g.first, g.last)
		if g.public != 0 {
			text = g.ip + ":" + portNumbers(g.public, g.public+g.last-g.first) + "->" + text
		}
		out = append(out, text+"/"+g.proto)
	}
	return strings.Join(out, ", ")
}

func portNumbers(first, last uint16) string {
	if first == last {
		return strconv.Itoa(int(first))
	}
	return fmt.Sprintf("%d-%d", first, last)
}

func ipText(ip netip.Addr) string {
	switch {
	case !ip.IsValid():
		return ""
	case ip.Is6():
		return "[" + ip.String() + "]"
	}
	return ip.String()
}
