package volume

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"berth/internal/errdef"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
)

func TestResolve(t *testing.T) {
	h := openAt(t, t.TempDir())
	src := t.TempDir()
	got, err := h.Resolve(t.Context(), MountRequest{
		Inherited: []container.MountPoint{{Type: mount.TypeBind, Source: src, Destination: "/inherited"}},
		Binds:     []string{src + ":/b:ro", "data:/v/", filepath.Join(src, "new") + ":/new", "/anon"},
		Mounts:    []mount.Mount{{Type: mount.TypeTmpfs, Target: "/m"}, {Type: mount.TypeVolume, Source: "plain", Target: "/plain", VolumeOptions: &mount.VolumeOptions{NoCopy: true}}},
		Image:     map[string]struct{}{"/img": {}, "/b": {}, "/mem/": {}},
		Tmpfs:     map[string]string{"/mem": ""},
	})
	if err != nil {
		t.Fatal(err)
	}
	var dests []string
	at := map[string]container.MountPoint{}
	for _, p := range got.Points {
		dests = append(dests, p.Destination)
		at[p.Destination] = p
	}
	if want := []string{"/anon", "/b", "/img", "/inherited", "/m", "/new", "/plain", "/v"}; !slices.Equal(dests, want) {
		t.Errorf("destinations %v, want %v", dests, want)
	}
	if at["/b"].RW || !at["/new"].RW || at["/v"].Source != h.Data("data") || at["/b"].Source != src {
		t.Errorf("%+v", at)
	}
	if want := []string{at["/anon"].Name, at["/img"].Name}; !slices.Equal(got.Anonymous, want) {
		t.Errorf("anonymous %v, want %v", got.Anonymous, want)
	}
	for name, want := range map[string]bool{"data": true, "plain": false, at["/img"].Name: true} {
		if slices.Contains(got.Fill, name) != want {
			t.Errorf("fill %v: %s", got.Fill, name)
		}
	}
	// The anonymous ones are made with their container.
	if made := names(t, h, nil); !slices.Equal(made, []string{"data", "plain"}) {
		t.Errorf("made %v", made)
	}
}

func TestResolveRefuses(t *testing.T) {
	h := openAt(t, t.TempDir())
	for _, c := range []struct {
		req  MountRequest
		kind error
		want string
	}{
		{MountRequest{Binds: []string{"a:b:c:d"}}, errdef.ErrInvalid, "invalid volume specification: 'a:b:c:d': too many colons"},
		{MountRequest{Binds: []string{"/a:b"}}, errdef.ErrInvalid, "invalid volume specification: '/a:b': the path in the container must be absolute"},
		{MountRequest{Binds: []string{"/a:/"}}, errdef.ErrInvalid, "invalid volume specification: '/a:/': destination can't be '/'"},
		{MountRequest{Binds: []string{"/a:/b:bogus"}}, errdef.ErrInvalid, "invalid volume specification: '/a:/b:bogus': invalid mode: bogus"},
		{MountRequest{Binds: []string{"v1:/b", "v2:/b/"}}, errdef.ErrInvalid, "Duplicate mount point: /b"},
		{MountRequest{Mounts: []mount.Mount{{Type: mount.TypeBind, Source: "/none", Target: "/b"}}}, errdef.ErrInvalid, `invalid mount config for type "bind": bind source path does not exist: /none`},
		{MountRequest{Mounts: []mount.Mount{{Type: "npipe", Target: "/b"}}}, errdef.ErrNotSupported, ""},
		{MountRequest{Image: map[string]struct{}{"rel": {}}}, errdef.ErrInvalid, `the image's volume "rel" is not an absolute path`},
	} {
		_, err := h.Resolve(t.Context(), c.req)
		if !errors.Is(err, c.kind) || c.want != "" && err.Error() != c.want {
			t.Errorf("%+v:\n got %v\nwant %s", c.req, err, c.want)
		}
	}
	if left := names(t, h, nil); len(left) > 0 {
		t.Errorf("refused requests left %v", left)
	}
}
