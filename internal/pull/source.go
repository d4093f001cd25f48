package pull

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"berth/internal/download"
	"berth/internal/images"
)

// reportEvery bounds how often progress is told.
const reportEvery = 100 * time.Millisecond

// errEnough ends the reading of a layer that is only looked at.
var errEnough = errors.New("read as far as was wanted")

// source is a packed layer on its way, which tells how far it is: first how
// much of it has come, and when all has, how much has been unpacked.
type source struct {
	*download.Download
	progress images.Progress
	task     task

	cancel context.CancelFunc
	reader sync.Mutex // held by whoever reads: a decoder that was closed may still
	closed bool

	mu   sync.Mutex
	here bool  // all has come
	used int64 // what has been read
	told time.Time
}

// arrived hears how much has come.
func (s *source) arrived(have int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.here {
		return
	}
	total := s.task.desc.Size
	if have < total {
		s.progress.Layer(s.task.id, "Downloading", have, total)
		return
	}
	s.here = true
	s.progress.Layer(s.task.id, "Download complete", total, total)
}

// NextOwned implements layer.Pieces.
func (s *source) NextOwned() ([]byte, func(), error) {
	s.reader.Lock()
	defer s.reader.Unlock()
	if s.closed {
		return nil, nil, io.ErrClosedPipe
	}
	b, release, err := s.Download.NextOwned()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used += int64(len(b))
	if err == io.EOF && !s.here {
		s.here = true
		s.progress.Layer(s.task.id, "Download complete", s.used, s.used)
	}
	if now := time.Now(); err == nil && s.here && now.Sub(s.told) >= reportEvery {
		s.told = now
		s.progress.Layer(s.task.id, "Extracting", s.used, s.task.desc.Size)
	}
	return b, release, err
}

// Close ends the transfer; see [download.Download.Close].
func (s *source) Close() error {
	s.cancel()
	s.reader.Lock()
	defer s.reader.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.Download.Close()
}

// toEnd reads on, but no more than limit bytes, and returns what is wrong with
// the packed layer, if anything is, or errEnough.
func (s *source) toEnd(limit int64) error {
	for n := int64(0); n <= limit; {
		b, release, err := s.NextOwned()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		n += int64(len(b))
		release()
	}
	return errEnough
}
