package rows

import (
	"fmt"
	"strings"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"berth/internal/cli/format"
)

// Stats is a container in the table. The fields stand in the order of their
// names, as in Docker's JSON.
type Stats struct {
	BlockIO   string `header:"BLOCK I/O"`
	CPUPerc   string `header:"CPU %"`
	Container string
	ID        string `header:"CONTAINER ID"`
	MemPerc   string `header:"MEM %"`
	MemUsage  string `header:"MEM USAGE / LIMIT"`
	Name      string
	NetIO     string `header:"NET I/O"`
	PIDs      string
}

// StatsColumns are those of the plain table.
func StatsColumns() []string {
	return []string{"ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"}
}

// NewStats makes the row of a container that was given by a name, from a
// measurement that knows the one before; trunc cuts the ID.
func NewStats(given string, m container.StatsResponse, trunc bool) Stats {
	used, share := memoryUse(m.MemoryStats)
	read, written := blockUse(m.BlkioStats)
	var received, sent uint64
	for _, n := range m.Networks {
		received += n.RxBytes
		sent += n.TxBytes
	}
	r := Stats{
		Container: given, ID: m.ID, Name: strings.TrimPrefix(m.Name, "/"),
		CPUPerc:  fmt.Sprintf("%.2f%%", processorShare(m)),
		MemUsage: units.BytesSize(used) + " / " + units.BytesSize(float64(m.MemoryStats.Limit)),
		MemPerc:  fmt.Sprintf("%.2f%%", share),
		NetIO:    format.Size(int64(received)) + " / " + format.Size(int64(sent)),
		BlockIO:  format.Size(int64(read)) + " / " + format.Size(int64(written)),
		PIDs:     fmt.Sprint(m.PidsStats.Current),
	}
	if trunc {
		r.ID = format.ShortID(m.ID)
	}
	return r
}

// processorShare is the time that a container had of what one processor had, in
// percent: 200 is two whole processors.
func processorShare(m container.StatsResponse) float64 {
	own := float64(m.CPUStats.CPUUsage.TotalUsage) - float64(m.PreCPUStats.CPUUsage.TotalUsage)
	machine := float64(m.CPUStats.SystemUsage) - float64(m.PreCPUStats.SystemUsage)
	if m.PreRead.IsZero() || own <= 0 || machine <= 0 {
		return 0
	}
	return own / machine * float64(m.CPUStats.OnlineCPUs) * 100
}

// memoryUse leaves out file contents that the kernel would drop first, as
// Docker's does, and tells the share of the limit in percent.
func memoryUse(m container.MemoryStats) (used, share float64) {
	used = float64(m.Usage)
	cold, ok := m.Stats["total_inactive_file"] // version 1 of control groups
	if !ok {
		cold = m.Stats["inactive_file"]
	}
	if cold < m.Usage {
		used -= float64(cold)
	}
	if m.Limit > 0 {
		share = used / float64(m.Limit) * 100
	}
	return used, share
}

func blockUse(b container.BlkioStats) (read, written uint64) {
	for _, e := range b.IoServiceBytesRecursive {
		switch e.Op {
		case "read":
			read += e.Value
		case "write":
			written += e.Value
		}
	}
	return read, written
}
