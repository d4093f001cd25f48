package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Options says how to copy.
type Options struct {
	Container  string // as the caller calls it, for messages
	Follow     bool   // a link given as the source counts as what it leads to
	KeepOwners bool
	Progress   func(n int64) // hears how many bytes have gone over; nil is deaf
}

// Result says what has been copied.
type Result struct {
	Bytes       int64  // content of files
	Transferred int64  // of the stream
	Target      string // where it went
	Devices     int    // device nodes that were left out
}

// counter counts a stream.
type counter struct {
	w    io.Writer
	n    int64
	tell func(n int64)
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	if c.tell != nil {
		c.tell(c.n)
	}
	return n, err
}

// missing words what is not there in the container.
func (o Options) missing(p string, err error) error {
	if errors.Is(err, ErrNotFound) {
		return &Failure{Text: fmt.Sprintf("Could not find the file %s in container %s", p, o.Container), Kind: ErrNotFound.Error()}
	}
	return err
}

// CopyOut copies src of the container to dst here.
func (s *Session) CopyOut(ctx context.Context, src, dst string, opt Options) (Result, error) {
	dst, err := Absolute(dst)
	if err != nil {
		return Result{}, err
	}
	if err := CheckOutput(dst); err != nil {
		return Result{}, err
	}
	from, err := s.source(src, opt)
	if err != nil {
		return Result{}, err
	}
	to, err := LocalTarget(dst)
	if err != nil {
		return Result{}, err
	}
	dir, name, err := to.Place(from)
	if err != nil {
		return Result{}, err
	}
	root, err := OpenFolder(dir)
	if err != nil {
		return Result{}, err
	}
	defer root.Close()
	if name == "" {
		name = "."
	}
	pr, pw := io.Pipe()
	count := &counter{w: pw, tell: opt.Progress}
	go func() {
		_, err := s.Get(ctx, from.Path, name, count)
		pw.CloseWithError(opt.missing(src, err))
	}()
	// What the container says about itself ends here: names are taken apart
	// and no link is followed.
	u, err := root.Unpack(ctx, pr, ".", UnpackOptions{Local: true, KeepOwners: opt.KeepOwners})
	pr.CloseWithError(err)
	return Result{Bytes: u.Bytes, Transferred: count.n, Target: dst, Devices: u.Devices}, err
}

// source looks at what is to be copied out.
func (s *Session) source(src string, opt Options) (Source, error) {
	st, err := s.Stat(src)
	if err != nil {
		return Source{}, opt.missing(src, err)
	}
	from := Source{Path: src, IsDir: st.Mode.IsDir(), Name: EntryName(src)}
	if opt.Follow && st.Mode&fs.ModeSymlink != 0 {
		from.Path = st.Target
		if st, err = s.Stat(st.Target); err != nil {
			return Source{}, opt.missing(from.Path, err)
		}
		from.IsDir = st.Mode.IsDir()
	}
	return from, nil
}

// StreamOut writes src of the container to w as a tar stream.
func (s *Session) StreamOut(ctx context.Context, src string, w io.Writer, opt Options) error {
	from, err := s.source(src, opt)
	if err != nil {
		return err
	}
	_, err = s.Get(ctx, from.Path, from.Name, w)
	return opt.missing(src, err)
}

// target looks at where something is to be copied to in the container. What
// cannot be seen is taken to be missing: the extraction will tell.
func (s *Session) target(dst string, opt Options) (Target, error) {
	to := Target{Path: dst}
	st, err := s.Stat(dst)
	if err == nil && st.Mode&fs.ModeSymlink != 0 {
		to.Path = st.Target
		st, err = s.Stat(st.Target)
	}
	if err != nil {
		return to, nil
	}
	to.Exists, to.IsDir = true, st.Mode.IsDir()
	if err := CheckMode(st.Mode); err != nil {
		return to, fmt.Errorf(`destination "%s:%s" must be a directory or a regular file: %w`, opt.Container, dst, err)
	}
	return to, nil
}

// CopyIn copies src here to dst in the container.
func (s *Session) CopyIn(ctx context.Context, src, dst string, opt Options) (Result, error) {
	src, err := Absolute(src)
	if err != nil {
		return Result{}, err
	}
	to, err := s.target(dst, opt)
	if err != nil {
		return Result{}, err
	}
	from, err := LocalSource(src, opt.Follow)
	if err != nil {
		return Result{}, err
	}
	dir, name, err := to.Place(from)
	if err != nil {
		return Result{}, err
	}
	pr, pw := io.Pipe()
	count := &counter{w: pw, tell: opt.Progress}
	var content int64
	packed := make(chan error, 1)
	go func() {
		n, err := PackLocal(ctx, count, from, name)
		content = n
		pw.CloseWithError(err)
		packed <- err
	}()
	u, err := s.Put(ctx, dir, pr, UnpackOptions{KeepOwners: opt.KeepOwners})
	pr.CloseWithError(io.ErrClosedPipe)
	perr := <-packed
	if perr != nil && !errors.Is(perr, io.ErrClosedPipe) {
		err = perr // why the stream broke off
	}
	return Result{Bytes: content, Transferred: count.n, Target: to.Path, Devices: u.Devices}, opt.missing(dir, err)
}

// StreamIn extracts a tar stream into the folder dst of the container. The
// stream says itself to whom things belong.
func (s *Session) StreamIn(ctx context.Context, r io.Reader, dst string, opt Options) (Result, error) {
	to, err := s.target(dst, opt)
	if err != nil {
		return Result{}, err
	}
	if !to.IsDir {
		return Result{}, fmt.Errorf(`destination "%s:%s" must be a directory`, opt.Container, dst)
	}
	u, err := s.Put(ctx, to.Path, r, UnpackOptions{KeepOwners: true})
	return Result{Bytes: u.Bytes, Target: to.Path, Devices: u.Devices}, opt.missing(to.Path, err)
}
