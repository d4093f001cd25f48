package images

import (
	"slices"
	"strings"
)

// Canary is the folder of the host that hostile images try to reach. A test
// puts the file secret there with [Secret] in it; after each image the folder
// must hold that and nothing else, and no program may have printed it.
const (
	Canary = "/tmp/berth-canary"
	Secret = "the canary sings"
)

// planted is what they try to write.
const planted = Canary + "/planted"

// HostileNames lists the repositories of the hostile images.
func HostileNames() []string {
	var names []string
	for _, n := range hostile(Layer{}) {
		names = append(names, n.repo)
	}
	slices.Sort(names)
	return names
}

// hostile are images that try to get out, to get in, or to hang whoever
// unpacks or starts them. All of them have a working busybox below.
func hostile(bb Layer) []named {
	var all []named
	add := func(name string, cfg Config, entries ...Entry) {
		if cfg.Cmd == nil && cfg.Entrypoint == nil {
			cfg.Cmd = []string{"/bin/echo", "started"}
		}
		cfg.Env = append(cfg.Env, path)
		layers := []Layer{bb}
		if len(entries) > 0 {
			layers = append(layers, GzipLayer(Tar(entries...)))
		}
		all = append(all, named{"hostile/" + name, "latest", []Image{{Config: cfg, Layers: layers}}})
	}
	hostileFiles(add)
	hostileConfigs(add)
	all = append(all, hostileTars(bb)...)
	return all
}

type adder func(name string, cfg Config, entries ...Entry)

// hostileFiles put something else where the engine mounts or writes.
func hostileFiles(add adder) {
	link := func(name, to string) Entry { return Entry{Name: name, Type: '2', Link: to} }
	out := strings.Repeat("../", 12) + strings.TrimPrefix(planted, "/")
	add("proc-link", Config{}, Entry{Name: ".wh.proc"}, link("proc", Canary))
	add("dev-link", Config{}, Entry{Name: ".wh.dev"}, link("dev", Canary))
	add("sys-link", Config{}, Entry{Name: ".wh.sys"}, link("sys", out))
	add("proc-file", Config{}, Entry{Name: "proc", Body: "a file\n"})
	add("hosts-link", Config{}, link("etc/hosts", planted))
	add("resolv-link", Config{}, link("etc/resolv.conf", out))
	add("hostname-link", Config{}, link("etc/hostname", "/proc/self/fd/1"))
	add("hosts-folder", Config{}, Entry{Name: "etc/hosts/"}, Entry{Name: "etc/hosts/x", Body: "x"})
	add("etc-link", Config{}, Entry{Name: ".wh.etc"}, link("etc", Canary))
	add("shm-link", Config{}, link("dev/shm", Canary))
	add("passwd-link", Config{User: "daemon"}, link("etc/passwd", "/proc/self/environ"))
	add("passwd-out", Config{User: "daemon"}, link("etc/passwd", strings.Repeat("../", 12)+"etc/passwd"))
	add("passwd-fifo", Config{User: "daemon"}, Entry{Name: "etc/passwd", Type: '6'})
	add("group-folder", Config{User: "root:audio"}, Entry{Name: "etc/group/"})
	add("passwd-junk", Config{User: "daemon"}, Entry{Name: "etc/passwd", Body: strings.Repeat(":", 9000) + "\nroot\n\x00\xff:x\ndaemon:x:1:1:::\n"})
	add("entry-fifo", Config{Entrypoint: []string{"/entry"}}, Entry{Name: "entry", Type: '6', Mode: 0o755})
	add("workdir-link", Config{WorkingDir: "/work/dir"}, link("work", Canary))
	add("volume-link", Config{Volumes: map[string]struct{}{"/vol": {}}}, link("vol", Canary))
}

// hostileConfigs ask for something that must not be given.
func hostileConfigs(add adder) {
	for _, fd := range []string{"3", "4", "5", "6", "7", "8", "9", "10"} {
		add("workdir-fd"+fd, Config{WorkingDir: "/proc/self/fd/" + fd, Cmd: []string{"/bin/sh", "-c", "for i in . .. ../.. ../../.. ../../../.. ../../../../../..; do cat $i" + Canary + "/secret; done; echo started"}})
	}
	add("workdir-dots", Config{WorkingDir: "/../../../.." + Canary + "/up"})
	add("workdir-relative", Config{WorkingDir: "relative/path"})
	add("self-exe", Config{Entrypoint: []string{"/entry"}}, Entry{Name: "entry", Body: "#!/proc/self/exe\n"})
	add("exe-link", Config{Entrypoint: []string{"/entry"}}, Entry{Name: "entry", Type: '2', Link: "/proc/self/exe"})
	add("user-huge", Config{User: "4294967296"})
	add("user-max", Config{User: "4294967295"})
	add("user-negative", Config{User: "-1"})
	add("user-long", Config{User: strings.Repeat("9", 4000)})
	add("group-huge", Config{User: "0:99999999999999999999"})
	add("user-colon", Config{User: ":"})
	add("user-newline", Config{User: "root\ndaemon"})
	add("env-odd", Config{Env: []string{"", "=x", "NOVALUE", "A=B=C", "LONG=" + strings.Repeat("x", 100000), "nl=a\nb"}})
	add("entry-empty", Config{Entrypoint: []string{""}})
	add("entry-folder", Config{Entrypoint: []string{"/bin"}})
	add("entry-missing", Config{Entrypoint: []string{"/no/such/file"}})
	add("volume-root", Config{Volumes: map[string]struct{}{"/": {}}})
	add("volume-proc", Config{Volumes: map[string]struct{}{"/proc": {}, "/proc/sys": {}}})
	add("volume-dots", Config{Volumes: map[string]struct{}{"/../../" + Canary: {}}})
	add("signal-junk", Config{StopSignal: "SIGNOTHING"})
	add("port-junk", Config{ExposedPorts: map[string]struct{}{"99999/tcp": {}, "x/y/z": {}, "": {}}})
}

// hostileTars are layers that a careless unpacker writes outside its folder,
// or chokes on.
func hostileTars(bb Layer) []named {
	out := strings.Repeat("../", 12) + strings.TrimPrefix(planted, "/")
	tars := map[string][]Entry{
		"absolute":        {{Name: planted, Body: "absolute"}},
		"dots":            {{Name: out, Body: "dots"}},
		"dots-inside":     {{Name: "a/../../../../../.." + planted, Body: "dots"}},
		"link-out":        {{Name: "esc", Type: '2', Link: Canary}, {Name: "esc/planted", Body: "through a link"}},
		"link-dots":       {{Name: "esc", Type: '2', Link: strings.Repeat("../", 12) + "tmp/berth-canary"}, {Name: "esc/planted", Body: "through a link"}},
		"link-chain":      {{Name: "a", Type: '2', Link: "b"}, {Name: "b", Type: '2', Link: "c"}, {Name: "c", Type: '2', Link: Canary}, {Name: "a/planted", Body: "chain"}},
		"link-loop":       {{Name: "a", Type: '2', Link: "b"}, {Name: "b", Type: '2', Link: "a"}, {Name: "a/x", Body: "loop"}},
		"hardlink-out":    {{Name: "passwd", Type: '1', Link: "/../../../../../../etc/passwd"}},
		"hardlink-dots":   {{Name: "passwd", Type: '1', Link: strings.Repeat("../", 12) + "etc/passwd"}},
		"hardlink-link":   {{Name: "esc", Type: '2', Link: "/etc"}, {Name: "passwd", Type: '1', Link: "esc/passwd"}},
		"hardlink-nobody": {{Name: "x", Type: '1', Link: "never/was"}},
		"hardlink-self":   {{Name: "x", Type: '1', Link: "x"}},
		"whiteout-dots":   {{Name: ".wh..."}, {Name: ".wh.."}, {Name: "a/.wh..wh.x"}, {Name: ".wh."}},
		"whiteout-out":    {{Name: "esc", Type: '2', Link: Canary}, {Name: "esc/.wh.secret"}},
		"whiteout-opaque": {{Name: "esc", Type: '2', Link: Canary}, {Name: "esc/.wh..wh..opq"}},
		"device":          {{Name: "disk", Type: '4', Dev: [2]int64{7, 0}, Mode: 0o666}, {Name: "zero", Type: '3', Dev: [2]int64{1, 5}, Mode: 0o666}},
		"same-twice":      {{Name: "x", Body: "first"}, {Name: "x", Body: "second"}},
		"file-then-dir":   {{Name: "x", Body: "file"}, {Name: "x/"}, {Name: "x/in", Body: "inside"}},
		"dir-then-file":   {{Name: "x/"}, {Name: "x/in", Body: "inside"}, {Name: "x", Body: "file"}},
		"dir-then-link":   {{Name: "x/"}, {Name: "x/in", Body: "inside"}, {Name: "x", Type: '2', Link: Canary}, {Name: "x/planted", Body: "out"}},
		"root-entry":      {{Name: "./", Mode: 0o700}, {Name: "/", Mode: 0o777}, {Name: ".", Type: '5', Mode: 0o755}},
		"root-file":       {{Name: ".", Body: "the root is no file"}},
		"xattr-overlay":   {{Name: "x/", PAX: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/../../tmp", "SCHILY.xattr.user.overlay.redirect": "/../../tmp", "SCHILY.xattr.user.overlay.opaque": "y"}}},
		"newline-name":    {{Name: "a\nb", Body: "x"}, {Name: "\x1b[31mred", Body: "x"}},
		"deep":            {{Name: strings.Repeat("d/", 1500), Mode: 0o755}},
		"type-unknown":    {{Name: "x", Type: 'Z'}},
	}
	var all []named
	add := func(name string, l Layer) {
		cfg := Config{Env: []string{path}, Cmd: []string{"/bin/echo", "started"}}
		all = append(all, named{"hostile/tar-" + name, "latest", []Image{{OCI: true, Config: cfg, Layers: []Layer{bb, l}}}})
	}
	for name, entries := range tars {
		add(name, GzipLayer(Tar(entries...)))
	}
	good := Tar(Entry{Name: "x", Body: strings.Repeat("body", 1000)})
	add("cut", GzipLayer(good[:1500]))
	add("junk", GzipLayer([]byte(strings.Repeat("this is no tar. ", 200))))
	add("empty", GzipLayer(nil))
	add("no-end", GzipLayer(good[:512+4096]))
	lying := GzipLayer(good)
	lying.DiffID = Digest([]byte("something else"))
	add("wrong-diffid", lying)
	nogzip := GzipLayer(good)
	nogzip.Blob = blobOf([]byte("this is not gzip"))
	add("no-gzip", nogzip)
	return all
}
