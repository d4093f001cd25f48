package transfer

import (
	"bufio"
	"context"
	"io"
	"strings"

	"berth/internal/layer"
)

// What a container has written can also be read where it lies, without a
// mount. An ordinary account has a stage do it, because the container's root
// could close files and folders to the account that they belong to.

// layersRequest asks the stage for a stream about layers: the changes of a
// container as a list or as a tar stream, or everything.
type layersRequest struct {
	Container layer.Container `json:"container"`
	List      bool            `json:"list,omitempty"`
	Diff      bool            `json:"diff,omitempty"`
}

func (q *layersRequest) write(ctx context.Context, w io.Writer) error {
	switch c := q.Container; {
	case q.List:
		list, err := layer.Changes(ctx, c)
		out := bufio.NewWriter(w)
		for _, d := range list {
			// Names may have any byte but this one.
			out.WriteByte(d.Kind)
			out.WriteString(d.Path)
			out.WriteByte(0)
		}
		if err == nil {
			err = out.Flush()
		}
		return err
	case q.Diff:
		return layer.WriteDiff(ctx, w, c)
	default:
		return export(ctx, w, c)
	}
}

func export(ctx context.Context, w io.Writer, c layer.Container) error {
	upper, trees, opt := c.Upper, c.Trees, layer.TarOptions{}
	if c.Copy != "" {
		upper, trees, opt.Trees = c.Copy, nil, c.Trees
	}
	view, err := layer.NewView(upper, trees)
	if err != nil {
		return err
	}
	defer view.Close()
	return view.Tar(ctx, w, "/", opt)
}

func (q *layersRequest) run(ctx context.Context, w io.Writer, ns Namespaces) error {
	if !ns.User {
		return q.write(ctx, w)
	}
	s, err := start(ctx, ns, begin{})
	if err != nil && ns.Ranged != nil {
		return err
	}
	if err != nil {
		// No user namespace here. Nearly everything can be read as well
		// without.
		return q.write(ctx, w)
	}
	defer s.Close()
	if err := s.stage.send(request{Layers: q}); err != nil {
		return err
	}
	if _, err := io.Copy(w, s.stage.out); err != nil {
		return err
	}
	if _, err = s.stage.receive(); ctx.Err() != nil {
		err = ctx.Err()
	}
	return err
}

// Changes is [layer.Changes].
func Changes(ctx context.Context, c layer.Container, ns Namespaces) ([]layer.Change, error) {
	var b strings.Builder
	if err := (&layersRequest{Container: c, List: true}).run(ctx, &b, ns); err != nil {
		return nil, err
	}
	var out []layer.Change
	for s := range strings.SplitSeq(strings.TrimSuffix(b.String(), "\x00"), "\x00") {
		if s != "" {
			out = append(out, layer.Change{Kind: s[0], Path: s[1:]})
		}
	}
	return out, nil
}

// WriteDiff is [layer.WriteDiff].
func WriteDiff(ctx context.Context, w io.Writer, c layer.Container, ns Namespaces) error {
	return (&layersRequest{Container: c, Diff: true}).run(ctx, w, ns)
}

// Export writes all files of a container, without what is mounted there.
func Export(ctx context.Context, w io.Writer, c layer.Container, ns Namespaces) error {
	return (&layersRequest{Container: c}).run(ctx, w, ns)
}
