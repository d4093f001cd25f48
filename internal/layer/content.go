package layer

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// copyStep bounds one call of copy_file_range, so that signals get through.
const copyStep = 1 << 30

// content copies the bytes of a file: by sharing blocks, else inside the
// kernel, else by hand. Holes stay holes.
func (c *copier) content(from, to int, st *unix.Stat_t) error {
	if st.Size == 0 {
		return nil
	}
	if !c.noClon {
		err := unix.IoctlFileClone(to, from)
		if err == nil {
			return nil
		}
		c.noClon = err == unix.EOPNOTSUPP || err == unix.ENOTTY || err == unix.EXDEV || err == unix.EINVAL || err == unix.ENOSYS
	}
	if st.Blocks*512 >= st.Size {
		return copyRange(from, to, 0, st.Size)
	}
	for at := int64(0); at < st.Size; {
		start, err := unix.Seek(from, at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			break // a hole up to the end
		}
		if err != nil {
			return copyRange(from, to, at, st.Size-at)
		}
		end, err := unix.Seek(from, start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if err := copyRange(from, to, start, end-start); err != nil {
			return err
		}
		at = end
	}
	return unix.Ftruncate(to, st.Size)
}

// copyRange copies up to n bytes at an offset, less if the file ends.
func copyRange(from, to int, at, n int64) error {
	in, out := at, at
	for n > 0 {
		m, err := unix.CopyFileRange(from, &in, to, &out, int(min(n, copyStep)), 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EIO) {
				return err
			}
			return copyByHand(from, to, in, n)
		}
		if m == 0 { // the end, or a file system that only says so
			return copyByHand(from, to, in, n)
		}
		n -= int64(m)
	}
	return nil
}

func copyByHand(from, to int, at, n int64) error {
	b := make([]byte, chunkSize)
	for n > 0 {
		m, err := unix.Pread(from, b[:min(n, int64(len(b)))], at)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if m == 0 {
			return nil
		}
		for done := 0; done < m; {
			k, err := unix.Pwrite(to, b[done:m], at+int64(done))
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return err
			}
			if k == 0 {
				return io.ErrShortWrite
			}
			done += k
		}
		at += int64(m)
		n -= int64(m)
	}
	return nil
}
