package inside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"berth/internal/host"
	"berth/internal/layer"
	"berth/internal/state"
	"berth/internal/userns"
)

var _ layer.Inside = (*Account)(nil)

// Account starts processes in the user namespace of the calling account, for one
// data root. It may be used from several goroutines.
type Account struct {
	host host.Host
	root string

	look   sync.Once // for the ranges
	ranges userns.Map
	none   error
	once   sync.Once // for the namespace
	ns     *os.File
	err    error
}

// New returns the account of h. It looks nothing up.
func New(h host.Host, root string) *Account { return &Account{host: h, root: root} }

// Serve has files of other ids in a data root worked on for the calling account.
// Root, to whom nothing is closed, needs none.
func Serve(dir *state.Dir) {
	if h, err := host.Detect(); err == nil && h.Rootless {
		a := New(h, dir.Root())
		dir.SetInside(a.Remove, a.Size)
	}
}

// Ranges is [userns.Ranges] of the account, looked up when it is first asked for:
// that reads lists, and may run programs that ask a directory service.
// Of root, who has no Account, it says that it needs none.
func (a *Account) Ranges() (userns.Map, error) {
	if a == nil {
		return userns.Ranges(host.Host{})
	}
	a.look.Do(func() {
		if a.ranges, a.none = userns.Ranges(a.host); a.none == nil {
			a.none = a.settle(a.ranges)
		}
	})
	return a.ranges, a.none
}

// Namespace returns the namespace, which is made when it is first asked for and
// stays the account's. The error says in words why there is none.
func (a *Account) Namespace() (*os.File, error) {
	a.once.Do(func() {
		var m userns.Map
		if m, a.err = a.Ranges(); a.err == nil {
			a.ns, a.err = userns.Open(m)
		}
	})
	if a.err != nil {
		return nil, fmt.Errorf("files of containers with several ids cannot be worked on: %w", a.err)
	}
	return a.ns, nil
}

// Add unpacks a stream as a ranged layer. It implements [layer.Inside].
func (a *Account) Add(ctx context.Context, r io.Reader, opt layer.Options) (layer.Meta, error) {
	got, err := a.call(ctx, request{Add: &addRequest{DiffID: opt.DiffID, MaxEntries: opt.MaxEntries, Durable: opt.Durable}}, r, nil)
	if err != nil || got.Meta == nil {
		return layer.Meta{}, err
	}
	return *got.Meta, nil
}

// Tar writes the stream of a ranged layer. It implements [layer.Inside].
func (a *Account) Tar(ctx context.Context, diffID string, w io.Writer) error {
	_, err := a.call(ctx, request{Tar: diffID}, nil, w)
	return err
}

// Copy copies what lies at a path of a stack of layer trees, top first, into the
// empty folder dst, with its owners.
func (a *Account) Copy(ctx context.Context, trees []string, path, dst string) error {
	_, err := a.call(ctx, request{Copy: &copyRequest{Trees: trees, Path: path, To: dst}}, nil, nil)
	return err
}

// Remove removes a tree. It is for [state.Dir.SetInside].
func (a *Account) Remove(path string) error {
	_, err := a.call(context.Background(), request{Remove: path}, nil, nil)
	return err
}

// Size adds up the sizes of the plain files of a tree. It is for
// [state.Dir.SetInside].
func (a *Account) Size(path string) (int64, error) {
	got, err := a.call(context.Background(), request{Size: path}, nil, nil)
	return got.Size, err
}

// call has one request carried out.
func (a *Account) call(ctx context.Context, q request, in io.Reader, out io.Writer) (reply, error) {
	ns, err := a.Namespace()
	if err != nil {
		return reply{}, err
	}
	q.Root = a.root
	w, err := begin(ns)
	if err != nil {
		return reply{}, err
	}
	defer w.end()
	stop := context.AfterFunc(ctx, w.process.Kill)
	defer stop()
	if err := w.send(q); err != nil {
		return reply{}, errors.Join(ctx.Err(), err)
	}
	var fed chan error
	if in != nil {
		fed = w.feed(in)
	}
	if out != nil {
		if _, err := io.Copy(out, w.out); err != nil {
			return reply{}, err
		}
	}
	got, err := w.receive()
	if ctx.Err() != nil {
		return got, ctx.Err()
	}
	// A stream that broke off at our end is why it gave up.
	if err != nil && fed != nil {
		select {
		case ferr := <-fed:
			if ferr != nil && !isClosed(ferr) {
				err = ferr
			}
		default:
		}
	}
	return got, err
}

func isClosed(err error) bool {
	return errors.Is(err, os.ErrClosed) || errors.Is(err, errPipe)
}
