package inside

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/internal/layer"
	"berth/internal/state"
	"berth/internal/store"
	"berth/internal/sys"
)

// Arg0 is the name that the process is started under.
const Arg0 = "berth-inside"

// controlFD is the descriptor of the socket with the request and the answer.
const controlFD = 3

// request is what to do. Besides Root, the data root, exactly one field is set.
type request struct {
	Root   string       `json:"root"`
	Add    *addRequest  `json:"add,omitempty"`
	Tar    string       `json:"tar,omitempty"`
	Copy   *copyRequest `json:"copy,omitempty"`
	Remove string       `json:"remove,omitempty"`
	Size   string       `json:"size,omitempty"`
}

type addRequest struct {
	DiffID     string `json:"diffID,omitempty"`
	MaxEntries int    `json:"maxEntries,omitempty"`
	Durable    bool   `json:"durable,omitempty"`
}

type copyRequest struct {
	Trees []string `json:"trees"`
	Path  string   `json:"path"`
	To    string   `json:"to"`
}

// whole follows the stream and says whether it is all there.
type whole struct {
	Whole bool `json:"whole"`
}

type reply struct {
	Meta    *layer.Meta `json:"meta,omitempty"`
	Size    int64       `json:"size,omitempty"`
	Failure *failure    `json:"failure,omitempty"`
}

// failure is an error on its way to another process. Callers tell some apart.
type failure struct {
	Text   string             `json:"text"`
	Errno  syscall.Errno      `json:"errno,omitempty"`
	Digest *layer.DigestError `json:"digest,omitempty"`
}

func failureOf(err error) *failure {
	f := &failure{Text: err.Error()}
	errors.As(err, &f.Errno)
	errors.As(err, &f.Digest)
	return f
}

func (f *failure) unpack() error {
	if f.Digest != nil {
		return f.Digest
	}
	return f
}

func (f *failure) Error() string { return f.Text }

func (f *failure) Unwrap() error {
	if f.Errno == 0 {
		return nil
	}
	return f.Errno
}

// Main carries out one request in the namespace that it was started in, and
// returns the exit code.
func Main() int {
	unix.CloseOnExec(controlFD)
	control := os.NewFile(controlFD, "control")
	in := json.NewDecoder(control)
	var q request
	if err := in.Decode(&q); err != nil {
		return 1 // the caller is gone
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	told := make(chan bool, 1)
	if q.Remove == "" {
		go func() {
			// Word that the stream is whole, or the end of who wanted it.
			var w whole
			told <- in.Decode(&w) == nil && w.Whole
			if in.Decode(&w) != nil {
				cancel()
			}
		}()
	}
	a, err := q.carryOut(ctx, told)
	if err != nil {
		a = reply{Failure: failureOf(err)}
	}
	os.Stdout.Close()
	if json.NewEncoder(control).Encode(&a) != nil {
		return 1
	}
	return 0
}

func (q *request) carryOut(ctx context.Context, told chan bool) (a reply, err error) {
	switch {
	case q.Remove != "":
		err = sys.RemoveAll(q.Remove)
	case q.Size != "":
		a.Size, _ = sys.TreeSize(q.Size)
	case q.Copy != nil:
		err = q.Copy.run(ctx)
	default:
		err = q.layer(ctx, &a, told)
	}
	return a, err
}

// layer unpacks a layer or packs it again.
func (q *request) layer(ctx context.Context, a *reply, told chan bool) error {
	dir, err := state.Open(q.Root)
	if err != nil {
		return err
	}
	set := layer.OpenKind(dir, store.Ranged, nil)
	if q.Add == nil {
		return set.Tar(ctx, q.Tar, os.Stdout)
	}
	m, err := set.Add(ctx, &stream{told: told}, layer.Options{DiffID: q.Add.DiffID, MaxEntries: q.Add.MaxEntries, Durable: q.Add.Durable})
	a.Meta = &m
	return err
}

// run copies until it is done or nobody wants it any more, who then puts away
// what there is of it.
func (q *copyRequest) run(ctx context.Context) error {
	v, err := layer.NewView("", q.Trees)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- v.CopyOut(q.Path, q.To) }()
	select {
	case err = <-done:
		v.Close()
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stream is standard input, which ends well only if its sender has said so.
type stream struct {
	told chan bool
	end  error
}

func (s *stream) Read(b []byte) (int, error) {
	if s.end != nil {
		return 0, s.end
	}
	n, err := os.Stdin.Read(b)
	if err == io.EOF {
		if !<-s.told {
			err = io.ErrUnexpectedEOF
		}
		s.end = err
	}
	return n, err
}
