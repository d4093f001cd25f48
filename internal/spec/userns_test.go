package spec

import (
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestParseUserns(t *testing.T) {
	for _, c := range []struct {
		in   container.UsernsMode
		want Userns
		err  string
	}{
		{"", Userns{UsernsAuto, -1, -1}, ""},
		{"host", Userns{UsernsAuto, -1, -1}, ""},
		{"auto", Userns{UsernsAuto, -1, -1}, ""},
		{"single", Userns{UsernsSingle, -1, -1}, ""},
		{"keep-id", Userns{UsernsKeepID, -1, -1}, ""},
		{"keep-id:uid=5,gid=0", Userns{UsernsKeepID, 5, 0}, ""},
		{"keep-id:gid=7", Userns{UsernsKeepID, -1, 7}, ""},
		{"keep-id:", Userns{}, "neither uid=N nor gid=N"},
		{"keep-id:uid=-1", Userns{}, "neither"},
		{"keep-id:uid=2147483648", Userns{}, "neither"},
		{"keep-id:size=5", Userns{}, "neither"},
		{"single:uid=5", Userns{}, "has no options"},
		{"nomap", Userns{}, "not supported"},
		{"container:x", Userns{}, "invalid user namespace mode: container:x"},
	} {
		got, err := ParseUserns(c.in)
		if c.err == "" && (err != nil || got != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%q: %v, %v", c.in, got, err)
		}
	}
}

// ranged is an account with ids up to 65536.
func ranged() Input {
	in := rootless()
	in.Host.IDs.UIDs = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65536}}
	in.Host.IDs.GIDs = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100, Size: 1}, {ContainerID: 1, HostID: 200000, Size: 65536}}
	in.Users = etc{"/etc/passwd": "www:x:33:34::/:/bin/sh\nfar:x:70000:70000::/:/bin/sh\n", "/etc/group": "extra:x:44:www\nremote:x:70001:\n"}
	return in
}

// kept is the same in a namespace in which it is 1000:1000.
func kept() Input {
	in := ranged()
	swap := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 1, Size: 999}, {ContainerID: 1000, HostID: 0, Size: 1}, {ContainerID: 1001, HostID: 1001, Size: 64536}}
	in.Host.IDs.InnerUIDs, in.Host.IDs.InnerGIDs = swap, swap
	return in
}

// TestUsersOfRanges looks who a program is, with the groups it has; nil groups
// are those of its maker.
func TestUsersOfRanges(t *testing.T) {
	for _, c := range []struct {
		name   string
		in     Input
		user   string
		add    []string
		want   identity
		keep   bool
		failed string
	}{
		{name: "root", in: ranged(), keep: true},
		{name: "root with a group", in: ranged(), add: []string{"44"}, want: identity{groups: []uint32{0, 44}}},
		{name: "by name", in: ranged(), user: "www", want: identity{uid: 33, gid: 34, groups: []uint32{34, 44}}},
		{name: "keep-groups", in: ranged(), user: "www", add: []string{"keep-groups"}, want: identity{uid: 33, gid: 34}, keep: true},
		{name: "keep-groups and more", in: ranged(), add: []string{"keep-groups", "44"}, failed: "no other can be added"},
		{name: "not mapped", in: ranged(), user: "far", failed: "user 70000 does not exist in the container: this account has ids up to 65536"},
		{name: "group not mapped", in: ranged(), user: "5:70000", failed: "group 70000 does not exist"},
		{name: "added group not mapped", in: ranged(), add: []string{"remote"}, failed: "group 70001 does not exist"},
		{name: "the account", in: kept(), user: "1000:1000", want: identity{uid: 1000, gid: 1000}, keep: true},
		{name: "root beside it", in: kept(), want: identity{groups: []uint32{0}}},
		{name: "one id", in: rootless(), add: []string{"keep-groups"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := c.in
			in.Config.User, in.HostConfig.GroupAdd = c.user, c.add
			s, warnings, err := Build(in)
			if c.failed != "" {
				if err == nil || !strings.Contains(err.Error(), c.failed) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || len(warnings) > 0 {
				t.Fatal(err, warnings)
			}
			u := s.Process.User
			if u.UID != c.want.uid || u.GID != c.want.gid || !slices.Equal(u.AdditionalGids, c.want.groups) {
				t.Errorf("got %v, want %v", u, c.want)
			}
			if got := in.Host.KeepGroups(s.Process); got != c.keep {
				t.Errorf("keeps its groups: %t", got)
			}
		})
	}
}

// TestOwnersOfRanges looks at what only a container with ids can have.
func TestOwnersOfRanges(t *testing.T) {
	for _, c := range []struct {
		name  string
		in    Input
		pts   bool
		tmpfs string
		ping  string
	}{
		{"one id", rootless(), false, "", ""},
		{"ranges", ranged(), true, "uid=1000 gid=5", "0 65536"},
		{"kept", kept(), true, "uid=0 gid=5", "0 65536"},
	} {
		in := c.in
		in.HostConfig.NetworkMode = "none"
		in.Mounts = []Mount{{Type: "tmpfs", Destination: "/t", TmpfsOptions: "uid=1000,gid=5"}}
		s, _, err := Build(in)
		if err != nil {
			t.Fatal(err)
		}
		var tmpfs []string
		for _, m := range s.Mounts {
			switch m.Destination {
			case "/dev/pts":
				if got := slices.Contains(m.Options, "gid=5"); got != c.pts {
					t.Errorf("%s: %v", c.name, m)
				}
			case "/t":
				for _, o := range m.Options {
					if strings.HasPrefix(o, "uid=") || strings.HasPrefix(o, "gid=") {
						tmpfs = append(tmpfs, o)
					}
				}
			}
		}
		if got := strings.Join(tmpfs, " "); got != c.tmpfs {
			t.Errorf("%s: tmpfs of %q, want %q", c.name, got, c.tmpfs)
		}
		if got := s.Linux.Sysctl["net.ipv4.ping_group_range"]; got != c.ping {
			t.Errorf("%s: ping for groups %q, want %q", c.name, got, c.ping)
		}
		if len(in.Host.IDs.UIDs) > 0 && !slices.Equal(s.Linux.UIDMappings, in.Host.IDs.UIDs) {
			t.Errorf("%s: mapped %v", c.name, s.Linux.UIDMappings)
		}
	}
}
