package engine

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/host"
	"berth/internal/network/client"
	"berth/internal/nsinit"
	"berth/internal/roster"
	"berth/internal/spec"
	"berth/internal/sys"
	"berth/internal/userns"
)

// settleIDs chooses which ids a new container has, and its user if that follows
// from the choice and was not asked for. A container that joins another one has
// that one's ids.
func (e *Engine) settleIDs(hc *container.HostConfig, cfg *container.Config, asked string) (ids string, err error) {
	mode, err := spec.ParseUserns(hc.UsernsMode)
	if err != nil {
		return "", &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	if !e.host.Rootless {
		if mode.Mode != spec.UsernsAuto {
			return "", &Error{Kind: ErrInvalid, Text: fmt.Sprintf("--userns %s is for ordinary accounts: containers of root have no user namespace", hc.UsernsMode)}
		}
		return "", nil
	}
	if mode.Mode == spec.UsernsKeepID && asked == "" {
		kept := e.kept(mode)
		cfg.User = fmt.Sprintf("%d:%d", kept[0], kept[1])
	}
	if id := sharer(hc); id != "" {
		other, _, err := e.load(id)
		if err != nil {
			return "", err
		}
		if mode.Mode == spec.UsernsSingle && other.IDs != "" {
			return "", &Error{Kind: ErrConflict, Text: fmt.Sprintf("--userns single conflicts with container %s, whose namespaces are to be joined: it has more ids", other.Name)}
		}
		return other.IDs, nil
	}
	if mode.Mode == spec.UsernsSingle {
		return "", nil
	}
	if _, err := e.inside.Ranges(); err != nil {
		return "", nil // with its own id everything works that one id is enough for
	}
	return roster.Ranges, nil
}

// kept is who the account is inside with keep-id.
func (e *Engine) kept(mode spec.Userns) [2]uint32 {
	out := [2]uint32{uint32(e.host.UID), uint32(e.host.GID)}
	if mode.UID >= 0 {
		out[0] = uint32(mode.UID)
	}
	if mode.GID >= 0 {
		out[1] = uint32(mode.GID)
	}
	return out
}

// sharer is the container whose namespaces, and so user namespace, are joined.
func sharer(hc *container.HostConfig) string {
	for _, mode := range []string{string(hc.NetworkMode), string(hc.PidMode), string(hc.IpcMode)} {
		if id, ok := strings.CutPrefix(mode, "container:"); ok {
			return id
		}
	}
	return ""
}

// idSpace is a container's user namespace before it is there.
type idSpace struct {
	ids    spec.IDs
	outer  userns.Map
	inner  userns.Map
	joined int // the first process of the container whose namespace it is
	// lease is what the container has of networks: their holder, if it has a user
	// namespace, is to have power over the container's.
	lease *client.Lease
}

// idSpace says which ids a container gets that is about to start.
func (e *Engine) idSpace(r *record, hc *container.HostConfig) (s idSpace, err error) {
	if r.IDs == "" {
		return s, nil
	}
	if id := sharer(hc); id != "" {
		b, err := e.bundle(id)
		if err != nil {
			return s, err
		}
		st, err := e.status(id)
		if err != nil {
			return s, err
		}
		s.joined, s.outer = st.Init.Pid, userns.Map{UIDs: rangesOf(b.IDs.UIDs), GIDs: rangesOf(b.IDs.GIDs)}
	} else if s.outer, err = e.inside.Ranges(); err != nil {
		return s, &Error{Kind: ErrNotSupported, Text: fmt.Sprintf("container %s was made with the ids of /etc/subuid, which this account has no more: %v", r.Name, err)}
	} else if err := e.sameIDs(r, s.outer); err != nil {
		return s, err
	}
	mode, err := spec.ParseUserns(hc.UsernsMode)
	if err != nil {
		return s, err
	}
	if mode.Mode == spec.UsernsKeepID {
		kept := e.kept(mode)
		s.inner = s.outer.Keep(kept[0], kept[1])
	}
	s.ids = spec.IDs{
		UIDs: mappings(s.outer.UIDs), GIDs: mappings(s.outer.GIDs),
		InnerUIDs: mappings(s.inner.UIDs), InnerGIDs: mappings(s.inner.GIDs),
	}
	return s, nil
}

// sameIDs refuses a container whose files were made with ids that mean others
// now: they would belong to nobody in it.
func (e *Engine) sameIDs(r *record, now userns.Map) error {
	b, err := e.bundle(r.ID)
	if err != nil || !b.IDs.Some() {
		return nil // it was never started
	}
	had := userns.Map{UIDs: rangesOf(b.IDs.UIDs), GIDs: rangesOf(b.IDs.GIDs)}
	if now.Extends(had) {
		return nil
	}
	return &Error{Kind: ErrNotSupported, Text: fmt.Sprintf("the files of container %s belong to ids that /etc/subuid and /etc/subgid granted when it was last started (%s), and these grant others now (%s): an administrator can give them back; else remove it and make it anew", r.Name, granted(had), granted(now))}
}

// granted are the ids of a map in words.
func granted(m userns.Map) string {
	var words []string
	for _, r := range m.UIDs[1:] {
		words = append(words, fmt.Sprintf("%d:%d", r.Outside, r.Size))
	}
	return strings.Join(words, ", ")
}

// open makes the namespaces, while the caller goes on; the answer waits for them.
func (s idSpace) open() (wait func() ([]*os.File, error)) {
	if !s.ids.Some() {
		return func() ([]*os.File, error) { return nil, nil }
	}
	var files []*os.File
	var err error
	done := make(chan struct{})
	go func() {
		files, err = s.make()
		close(done)
	}()
	return func() ([]*os.File, error) {
		<-done
		return files, idsError(err)
	}
}

func (s idSpace) make() ([]*os.File, error) {
	var outer *os.File
	var err error
	switch {
	case s.joined != 0:
		outer, err = ownerOf(s.joined)
	case s.lease != nil && s.lease.User != nil:
		outer, err = sys.Dup(s.lease.User)
	default:
		outer, err = userns.Open(s.outer)
	}
	if err != nil || len(s.inner.UIDs) == 0 {
		return []*os.File{outer}, err
	}
	inner, err := userns.Nest(outer, s.inner)
	return []*os.File{outer, inner}, err
}

// ownerOf opens the user namespace of a running container. Its first process
// may be in one inside of it; the mounts are the container's.
func ownerOf(pid int) (*os.File, error) {
	mnt, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return nil, err
	}
	defer mnt.Close()
	fd, err := unix.IoctlRetInt(int(mnt.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return nil, os.NewSyscallError("ioctl NS_GET_USERNS", err)
	}
	return os.NewFile(uintptr(fd), "user"), nil
}

// idsError explains why a namespace could not be had.
func idsError(err error) error {
	var op *nsinit.OpError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &op) && op.Op.Call == nsinit.CallClone:
		return host.ExplainUserns(op.Errno)
	}
	return fmt.Errorf("%w; with --userns single a container does without them", err)
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func mappings(rs []userns.Range) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	for _, r := range rs {
		out = append(out, specs.LinuxIDMapping{ContainerID: r.Inside, HostID: r.Outside, Size: r.Size})
	}
	return out
}

func rangesOf(ms []specs.LinuxIDMapping) []userns.Range {
	var out []userns.Range
	for _, m := range ms {
		out = append(out, userns.Range{Inside: m.ContainerID, Outside: m.HostID, Size: m.Size})
	}
	return out
}
