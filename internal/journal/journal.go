package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/state"
)

// Event is Docker's events.Message, flattened.
type Event struct {
	Type       string            // container, image, volume, network
	Action     string            // start, die, …; Docker's words
	ID         string            // of what it happened to
	Attributes map[string]string // Docker's: name, image, labels, exitCode …
	Time       time.Time         // zero: when it is written
}

// line is an event as it is written. The time comes first, so that a reader
// who looks for a time need not decode what is older.
type line struct {
	Time       int64             `json:"time"` // nanoseconds since 1970
	Type       string            `json:"type"`
	Action     string            `json:"action"`
	ID         string            `json:"id"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

// Journal is the journal of one data root.
type Journal struct{ dir *state.Dir }

// maxSize is how long a file of the journal grows, in bytes: some 10,000
// events. Docker keeps 256, in memory.
const maxSize = 4 << 20

// Open returns the journal of a data root. Nothing is opened yet.
func Open(dir *state.Dir) *Journal { return &Journal{dir: dir} }

func (j *Journal) current() string { return j.dir.Path("journal", "events") }
func (j *Journal) former() string  { return j.dir.Path("journal", "events.1") }

// Append writes events, in order. What they tell of has happened whether or
// not this succeeds; so most callers go on after an error.
func (j *Journal) Append(events ...Event) error {
	err := j.append(events)
	if errors.Is(err, fs.ErrNotExist) { // the first event of this data root
		if err = os.MkdirAll(j.dir.Path("journal"), 0o700); err == nil {
			err = j.append(events)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot write the journal of events: %w", err)
	}
	return nil
}

// append makes its calls itself: every start waits for a few events, and files
// of package os, which are registered for polling, take twice as long.
func (j *Journal) append(events []Event) error {
	lock, err := openFile(j.dir.Path("journal", "lock"), unix.O_RDWR)
	if err != nil {
		return err
	}
	defer unix.Close(lock)
	if err := flock(lock); err != nil {
		return err
	}
	file, err := openFile(j.current(), unix.O_RDWR|unix.O_APPEND)
	if err != nil {
		return err
	}
	defer func() { unix.Close(file) }()
	size, torn, err := end(file)
	if err != nil {
		return err
	}
	if size >= maxSize {
		if err := os.Rename(j.current(), j.former()); err != nil {
			return err
		}
		unix.Close(file)
		if file, err = openFile(j.current(), unix.O_RDWR|unix.O_APPEND); err != nil {
			return err
		}
		torn = false
	}
	b, err := encode(events, torn)
	if err != nil {
		return err
	}
	_, err = unix.Write(file, b)
	return err
}

func encode(events []Event, torn bool) ([]byte, error) {
	var b []byte
	if torn {
		b = append(b, '\n')
	}
	for _, e := range events {
		if e.Time.IsZero() {
			e.Time = time.Now()
		}
		l, err := json.Marshal(line{e.Time.UnixNano(), e.Type, e.Action, e.ID, e.Attributes})
		if err != nil {
			return nil, err
		}
		b = append(append(b, l...), '\n')
	}
	return b, nil
}

func openFile(path string, flags int) (int, error) {
	fd, err := unix.Open(path, flags|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

func flock(fd int) error {
	for {
		if err := unix.Flock(fd, unix.LOCK_EX); err != unix.EINTR {
			return os.NewSyscallError("flock", err)
		}
	}
}

// end tells how long a file is, and whether its last line is half.
func end(file int) (size int64, torn bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(file, &st); err != nil {
		return 0, false, os.NewSyscallError("fstat", err)
	}
	if st.Size == 0 {
		return 0, false, nil
	}
	var last [1]byte
	_, err = unix.Pread(file, last[:], st.Size-1)
	return st.Size, last[0] != '\n', err
}
