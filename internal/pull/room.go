package pull

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/docker/go-units"

	"berth/internal/download"
	"berth/internal/registry/ref"
	"berth/internal/sys"
)

// askSize is the size of a layer from which on it is worth a request to learn
// how large it will be.
const askSize = 32 << 20

// enough refuses a pull that cannot end well for lack of space, before
// anything is fetched.
func (j *job) enough(ctx context.Context, r ref.Ref, tasks []task) error {
	dir := j.layers.Folder()
	free, ok := sys.FreeSpace(dir)
	if !ok || len(tasks) == 0 {
		return nil
	}
	var packed int64
	for _, t := range tasks {
		packed += t.desc.Size
	}
	// Nothing is known to need as much as this: no reason to ask.
	if free > 16*packed {
		return nil
	}
	need := j.unpackedSize(ctx, r, tasks)
	if j.keep {
		need += packed
	}
	for _, l := range downloads(j) {
		need -= min(l.Have, need) // has its space already
	}
	if need <= free {
		return nil
	}
	return fmt.Errorf("cannot pull %s: it needs at least %s in %s, and %s are free: free some, or choose another place with --root",
		r.Familiar(), units.HumanSize(float64(need)), dir, units.HumanSize(float64(max(free, 0))))
}

// downloads returns what earlier pulls have left.
func downloads(j *job) []download.Left {
	left, _ := download.List(j.store.Dir().Path("downloads"))
	return left
}

// unpackedSize returns what the layers take when they are unpacked, or less.
func (j *job) unpackedSize(ctx context.Context, r ref.Ref, tasks []task) int64 {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var sum int64
	limit := make(chan struct{}, connections)
	for _, t := range tasks {
		if t.blobOnly {
			continue
		}
		wg.Go(func() {
			limit <- struct{}{}
			n := max(t.desc.Size, j.gzipSize(ctx, r, t))
			<-limit
			mu.Lock()
			sum += n
			mu.Unlock()
		})
	}
	wg.Wait()
	return sum
}

// gzipSize reads how large the content of a gzip layer is: its last four
// bytes say so, modulo 2^32 (RFC 1952, ISIZE). Content that hardly packs is
// rare, so the smallest size that is not below the packed one is a good guess,
// and mostly too small. It is zero when there is nothing to learn.
func (j *job) gzipSize(ctx context.Context, r ref.Ref, t task) int64 {
	if t.desc.Size < askSize || !strings.Contains(t.desc.MediaType, "gzip") {
		return 0
	}
	from, err := j.client.Ranges(r, t.desc)
	if err != nil {
		return 0
	}
	body, whole, err := from.Range(ctx, t.desc.Size-4, 4)
	if err != nil {
		return 0 // whatever it is, the transfer will say
	}
	defer body.Close()
	var b [4]byte
	if _, err := io.ReadFull(body, b[:]); err != nil || whole {
		return 0
	}
	n := int64(binary.LittleEndian.Uint32(b[:]))
	for n < t.desc.Size*9/10 {
		n += 1 << 32
	}
	return n
}
