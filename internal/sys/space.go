package sys

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// spaceStep is how much is written between two looks at the disk.
	spaceStep = 8 << 20
	// spaceReserve is how much of a disk stays free, or the hundredth part on a
	// small one: a machine with a full disk is hard to mend.
	spaceReserve = 64 << 20
)

// FreeSpace returns how many bytes may still be written below dir, less than
// none when the reserve is touched; not ok for a disk that does not say.
func FreeSpace(dir string) (n int64, ok bool) {
	left, reserve, ok := disk(dir)
	return left - reserve, ok
}

func disk(dir string) (left, reserve int64, ok bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Blocks == 0 {
		return 0, 0, false
	}
	block := int64(st.Bsize)
	return int64(st.Bavail) * block, min(spaceReserve, int64(st.Blocks)*block/100), true
}

// Space watches that what is unpacked does not fill the disk. A few packed
// bytes may stand for any number of zeros, so this is also what ends a bomb.
type Space struct {
	Dir     string
	pending int
}

// Take counts n bytes that are about to be written.
func (s *Space) Take(n int) error {
	if s.pending += n; s.pending < spaceStep {
		return nil
	}
	s.pending = 0
	if left, reserve, ok := disk(s.Dir); ok && left < reserve {
		return fmt.Errorf("%w: %d MiB are left in %s and stay free", unix.ENOSPC, left>>20, s.Dir)
	}
	return nil
}

// WriteAll writes b to a descriptor.
func WriteAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
