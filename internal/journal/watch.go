package journal

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watch wakes a reader when something was written.
type watch struct{ file *os.File }

func (j *Journal) watch() (*watch, error) {
	folder := j.dir.Path("journal")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	// A rotation is a move and a creation; the first line after it a write.
	_, err = unix.InotifyAddWatch(fd, folder, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO)
	if err != nil {
		f.Close()
		return nil, os.NewSyscallError("inotify_add_watch", err)
	}
	return &watch{file: f}, nil
}

func (w *watch) close() { w.file.Close() }

// wait returns when the folder has changed, when the time has come (zero:
// never) or when the context ends.
func (w *watch) wait(ctx context.Context, until time.Time) error {
	w.file.SetReadDeadline(until)
	stop := context.AfterFunc(ctx, func() { w.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 4<<10)
	_, err := w.file.Read(buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}
