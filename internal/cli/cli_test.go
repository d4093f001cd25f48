package cli

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/internal/engine"
)

// call is one call of the program in this process.
type call struct {
	code        int
	out, errOut string
}

// invoke runs a command with an empty data root and settings of its own.
func invoke(t *testing.T, env map[string]string, args ...string) call {
	t.Helper()
	dir := t.TempDir()
	lookup := func(name string) (string, bool) {
		v, ok := env[name]
		if !ok && name == "HOME" {
			return dir, true
		}
		return v, ok
	}
	if len(args) > 1 && !strings.HasPrefix(args[1], "-") {
		args = append([]string{args[0], "--root", filepath.Join(dir, "root")}, args[1:]...)
	}
	out, err := os.CreateTemp(dir, "out")
	if err != nil {
		t.Fatal(err)
	}
	errOut, err := os.CreateTemp(dir, "err")
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	code := Main(context.Background(), args, Env{Stdin: in, Stdout: out, Stderr: errOut, LookupEnv: lookup})
	return call{code, content(t, out), content(t, errOut)}
}

func content(t *testing.T, f *os.File) string {
	t.Helper()
	defer f.Close()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func words(line string) []string { return strings.Split(line, "|") }

// TestMistakes is what a person sees who gets the command line wrong.
func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		line string
		code int
		want string
	}{
		{"berth|foo", 1, `berth: unknown command: berth foo

Run 'berth --help' for more information
`},
		{"docker|pus", 1, `docker: unknown command: docker pus

Did you mean this?
	docker ps

Run 'docker --help' for more information
`},
		{"berth|container|strat", 1, `berth: unknown command: berth container strat

Did you mean this?
	berth container start

Run 'berth container --help' for more information
`},
		{"berth|build|.", 1, "berth: berth build is not supported yet by this berth\n"},
		{"berth|container|cp|a|b", 1, "berth: must specify at least one container source\n"},
		{"berth|image|build|a", 1, "berth: berth image build is not supported yet by this berth\n"},
		{"berth|--foo", 125, `berth: unknown flag: --foo

Usage:  berth [OPTIONS] COMMAND [ARG...]

Run 'berth --help' for more information
`},
		{"berth|-H|tcp://example.org|ps", 125, `berth: invalid argument "tcp://example.org" for "-H, --host" flag: berth runs containers itself and connects to no daemon: leave -H tcp://example.org away, or use the docker client for that engine

Usage:  berth [OPTIONS] COMMAND [ARG...]

Run 'berth --help' for more information
`},
		{"berth|run", 1, `berth: 'berth run' requires at least 1 argument

Usage:  berth run [OPTIONS] IMAGE [COMMAND] [ARG...]

Run 'berth run --help' for more information
`},
		{"docker|container|run", 1, `docker: 'docker container run' requires at least 1 argument

Usage:  docker container run [OPTIONS] IMAGE [COMMAND] [ARG...]

Run 'docker container run --help' for more information
`},
		{"berth|run|--foo|b", 125, `berth: unknown flag: --foo

Usage:  berth run [OPTIONS] IMAGE [COMMAND] [ARG...]

Run 'berth run --help' for more information
`},
		{"berth|ps|--root|/x", 125, `berth: unknown flag: --root (it comes before the command: berth --root ... ps)

Usage:  berth ps [OPTIONS]

Run 'berth ps --help' for more information
`},
		{"berth|ps|x", 1, `berth: 'berth ps' accepts no arguments

Usage:  berth ps [OPTIONS]

Run 'berth ps --help' for more information
`},
		{"berth|rename|a", 1, `berth: 'berth rename' requires 2 arguments

Usage:  berth rename CONTAINER NEW_NAME

Run 'berth rename --help' for more information
`},
		{"berth|run|-m|12q|b", 125, `berth: invalid argument "12q" for "-m, --memory" flag: invalid suffix: 'q'

Usage:  berth run [OPTIONS] IMAGE [COMMAND] [ARG...]

Run 'berth run --help' for more information
`},
		{"berth|run|-v|/a:/b:/c:/d|b", 125, `berth: invalid spec: /a:/b:/c:/d: too many colons

Run 'berth run --help' for more information
`},
		{"berth|run|--gpus|all|b", 125, `berth: --gpus is not supported yet by this berth

Run 'berth run --help' for more information
`},
		{"berth|run|--pull|foo|b", 125, `berth: invalid pull option: 'foo': must be one of "always", "missing" or "never"

Run 'berth run --help' for more information
`},
		{"berth|run|-it|b", 1, "berth: the input device is not a TTY: leave -t away when the input is a file or a pipe\n"},
		{"berth|run|-d|-a|stdout|b", 1, "berth: conflicting options: cannot specify both --attach and --detach\n"},
		{"berth|run|--detach-keys|ctrl-1|b", 125, "berth: invalid detach keys (ctrl-1): unknown character: 'ctrl-1'\n"},
		{"berth|exec|-it|c|sh", 1, "berth: the input device is not a TTY: leave -t away when the input is a file or a pipe\n"},
		{"berth|logs|--tail|x|c", 1, "berth: invalid value for \"tail\": \"x\" is neither a number of lines nor \"all\"\n"},
		{"berth|logs|--since|yesterday|c", 1, "berth: invalid value for \"since\": invalid value for time: \"yesterday\": use a duration such as 42m, or a date such as 2006-01-02T15:04:05\n"},
		{"berth|stop|c", 1, "berth: No such container: c\n"},
		{"berth|rm|c|d", 1, "berth: No such container: c\nberth: No such container: d\n"},
		{"berth|rm|-f|c", 0, "berth: No such container: c\n"},
		{"berth|rm|--link|c", 1, "berth: --link is not supported yet by this berth\n"},
		{"berth|inspect|--type|foo|c", 1, "berth: unknown type: \"foo\": must be one of \"container\", \"image\", \"network\", \"volume\"\n"},
		{"berth|ps|--format|{{.Foo", 1, "berth: failed to parse template: template: :1: unclosed action\n"},
		{"berth|version|-f|{{.Foo", 64, "berth: template parsing error: template: :1: unclosed action\n"},
		{"berth|version|-f|{{.Foo}}", 1, "berth: template parsing error: template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\"\n"},
		{"berth|ps|--filter|x", 125, `berth: invalid argument "x" for "-f, --filter" flag: invalid filter 'x'

Usage:  berth ps [OPTIONS]

Run 'berth ps --help' for more information
`},
		{"berth|login|-u|x", 1, "berth: cannot perform an interactive login from a non TTY device: use --username and --password-stdin\n"},
	} {
		got := invoke(t, nil, words(c.line)...)
		if got.code != c.code || got.errOut != c.want {
			t.Errorf("%s\ngot exit code %d and\n%swant exit code %d and\n%s", c.line, got.code, got.errOut, c.code, c.want)
		}
	}
}

func TestInspectNothing(t *testing.T) {
	for line, want := range map[string]string{
		"berth|inspect|nosuch|nosuch2":   "Error: No such object: nosuch\nError: No such object: nosuch2\n",
		"berth|container|inspect|nosuch": "Error: No such container: nosuch\n",
		"berth|image|inspect|nosuch":     "Error: No such image: nosuch\n",
		"berth|volume|inspect|nosuch":    "Error: No such volume: nosuch\n",
		"berth|inspect|UPPER CASE":       "Error: No such object: UPPER CASE\n",
	} {
		got := invoke(t, nil, words(line)...)
		if got.code != 1 || got.out != "[]\n" || got.errOut != want {
			t.Errorf("%s: exit code %d, printed %q and %q, want 1, an empty list and %q", line, got.code, got.out, got.errOut, want)
		}
	}
}

// TestEveryHelp builds every command and looks whether its help says what it
// should: cobra panics on options that clash.
func TestEveryHelp(t *testing.T) {
	for _, v := range verbs() {
		for _, p := range v.paths {
			line := append([]string{"docker"}, strings.Fields(p)...)
			got := invoke(t, nil, append(line, "--help")...)
			if got.code != 0 || got.errOut != "" || !strings.HasPrefix(got.out, "Usage:  docker "+p) {
				t.Errorf("docker %s --help: exit code %d, %q\n%s", p, got.code, got.errOut, got.out)
			}
			if v.short == "" || strings.Contains(got.out, "\t") {
				t.Errorf("docker %s --help lacks a line about itself, or has tabs:\n%s", p, got.out)
			}
			if help := invoke(t, nil, append([]string{"docker", "help"}, strings.Fields(p)...)...); help != got {
				t.Errorf("docker help %s differs from docker %s --help", p, p)
			}
		}
	}
	for _, n := range nouns() {
		if got := invoke(t, nil, "docker", n.name); got.code != 0 || !strings.HasPrefix(got.out, "Usage:  docker "+n.name+" COMMAND\n") {
			t.Errorf("docker %s: %v", n.name, got)
		}
	}
}

func TestHelpOverview(t *testing.T) {
	bare := invoke(t, nil, "berth")
	for _, args := range [][]string{{"berth", "--help"}, {"berth", "help"}, {"berth", "-h"}} {
		if got := invoke(t, nil, args...); got != bare {
			t.Errorf("%v differs from berth alone: %v", args, got)
		}
	}
	for _, want := range []string{"\n  run         Create and run", "\n  container   Manage containers\n", "\n  wait        Block until", "--root string"} {
		if bare.code != 0 || !strings.Contains(bare.out, want) {
			t.Errorf("the overview lacks %q:\n%s", want, bare.out)
		}
	}
	if strings.Contains(bare.out, "tls") {
		t.Errorf("the overview shows options that mean nothing here:\n%s", bare.out)
	}
}

func TestVersion(t *testing.T) {
	for _, flag := range []string{"-v", "--version"} {
		if got := invoke(t, nil, "/usr/local/bin/docker", flag); got.code != 0 || !strings.HasPrefix(got.out, "Docker version 29.") || !strings.Contains(got.out, ", build ") {
			t.Errorf("docker %s: %v", flag, got)
		}
		if got := invoke(t, nil, "/opt/berth", flag); got.code != 0 || !strings.HasPrefix(got.out, "berth version ") {
			t.Errorf("berth %s: %v", flag, got)
		}
	}
	// Editors parse this one, and give up on anything but N.N.N.
	if got := invoke(t, nil, "docker", "version", "--format", "{{.Server.Version}}"); got.out != "29.0.0\n" {
		t.Errorf("got %v", got)
	}
	if got := invoke(t, nil, "berth", "version"); got.code != 0 || !strings.Contains(got.out, "\nServer: berth\n Engine:\n  Version:          29.0.0\n") {
		t.Errorf("got %v", got)
	}
	if got := invoke(t, nil, "docker", "version", "-f", "{{.Client.NoSuch}}"); got.code != 1 {
		t.Errorf("got %v", got)
	}
}

// TestAccepted is about options that scripts give and that change nothing.
func TestAccepted(t *testing.T) {
	for _, line := range []string{
		"berth|-D|-l|debug|--context|default|--tls=false|version",
		"berth|--config|/nonexistent|version",
		"berth|--log-level=warn|version",
	} {
		if got := invoke(t, nil, words(line)...); got.code != 0 || got.errOut != "" {
			t.Errorf("%s: %v", line, got)
		}
	}
	if got := invoke(t, map[string]string{"DOCKER_HOST": "tcp://example.org:2375"}, "berth", "ps"); got.code != 0 || got.errOut != "" {
		t.Errorf("with DOCKER_HOST: %v", got)
	}
}

func TestEmptyLists(t *testing.T) {
	for line, want := range map[string]string{
		"docker|ps":               "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n",
		"docker|ps|-s":            "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES     SIZE\n",
		"docker|ps|-q":            "",
		"docker|images":           "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n",
		"docker|images|-q":        "",
		"docker|images|--digests": "REPOSITORY   TAG       DIGEST    IMAGE ID   CREATED   SIZE\n",
		"docker|volume|ls":        "DRIVER    VOLUME NAME\n",
		"docker|ps|--format|json": "",
		"docker|ps|--format|table {{.Names}}\\t{{.Status}}": "NAMES     STATUS\n",
	} {
		if got := invoke(t, nil, words(line)...); got.code != 0 || got.out != want || got.errOut != "" {
			t.Errorf("%s: %v, want %q", line, got, want)
		}
	}
}

func TestPrune(t *testing.T) {
	got := invoke(t, nil, "berth", "system", "prune")
	want := `WARNING! This will remove:
  - all stopped containers
  - all networks not used by at least one container
  - all dangling images
  - what interrupted pulls have left

Are you sure you want to continue? [y/N] ` + "\n"
	if got.code != 0 || got.out != want {
		t.Errorf("a prompt without an answer: %v", got)
	}
	for _, line := range []string{"berth|system|prune|-f|--volumes|-a", "berth|container|prune|-f", "berth|image|prune|-af", "berth|volume|prune|-fa"} {
		if got := invoke(t, nil, words(line)...); got.code != 0 || got.out != "Total reclaimed space: 0B\n" {
			t.Errorf("%s: %v", line, got)
		}
	}
}

func TestVolumes(t *testing.T) {
	root := t.TempDir()
	do := func(line string) call {
		return invoke(t, nil, append([]string{"berth", "--root", root}, words(line)...)...)
	}
	if got := do("volume|create|--label|a=b|data"); got.out != "data\n" || got.code != 0 {
		t.Fatalf("create: %v", got)
	}
	if got := do("volume|ls"); got.out != "DRIVER    VOLUME NAME\nlocal     data\n" {
		t.Errorf("ls: %v", got)
	}
	if got := do(`volume|ls|--format|{{.Name}} {{.Label "a"}}`); got.out != "data b\n" {
		t.Errorf("ls with a label: %v", got)
	}
	if got := do("inspect|-f|{{.Name}} {{.Mountpoint}}|data"); got.out != "data "+root+"/volumes/data/_data\n" {
		t.Errorf("inspect: %v", got)
	}
	if got := do("volume|rm|data|nosuch"); got.out != "data\n" || got.code != 1 || !strings.Contains(got.errOut, "nosuch") {
		t.Errorf("rm: %v", got)
	}
}

func TestLogin(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	if err := os.WriteFile(path, []byte(`{"psFormat":"{{.ID}}","auths":{"old.example.org":{"auth":"x"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"DOCKER_CONFIG": dir}
	a := &app{env: Env{LookupEnv: os.LookupEnv}, set: settings{configDir: dir}}
	for _, server := range [][]string{{"https://reg.example.org/v2/"}, nil} {
		if kept, err := a.keepCredentials(registryKey(server), "me", "secret", ""); err != nil || kept != path {
			t.Fatalf("%v: %q, %v", server, kept, err)
		}
	}
	if _, err := a.keepCredentials("token.example.org", "me", "secret", "identity"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{`"psFormat"`, `"old.example.org"`, `"bWU6c2VjcmV0"`, `"reg.example.org"`, `"https://index.docker.io/v1/"`, `"identitytoken": "identity"`, `"bWU6"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the settings lack %s:\n%s", want, text)
		}
	}
	if got := invoke(t, env, "docker", "logout", "reg.example.org"); got.code != 0 || got.out != "Removing login credentials for reg.example.org\n" {
		t.Errorf("logout: %v", got)
	}
	if b, _ := os.ReadFile(path); strings.Contains(string(b), `"reg.example.org"`) || !strings.Contains(string(b), `"old.example.org"`) {
		t.Errorf("after logout:\n%s", b)
	}
}

func TestDamagedSettings(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"psFormat":`), 0o600); err != nil {
		t.Fatal(err)
	}
	got := invoke(t, map[string]string{"DOCKER_CONFIG": dir}, "docker", "ps")
	if got.code != 0 || !strings.HasPrefix(got.errOut, "WARNING: Error loading config file: ") {
		t.Errorf("got %v", got)
	}
}

// TestHintOrder: options written after the image are found and put before it.
func TestHintOrder(t *testing.T) {
	a := &app{name: "docker"}
	for _, c := range []struct{ path, words, want string }{
		{"run", "-it sh", "docker run -it busybox sh"},
		{"run", "--rm -p 80:80 --name web sh -c ls", "docker run --rm -p 80:80 --name web busybox sh -c ls"},
		{"run", "--name=web", "docker run --name=web busybox"},
		{"run", "-d", "docker run -d busybox"},
		{"container run", "--nosuch x", "docker container run --nosuch busybox x"},
		{"exec", "-it -u 0 sh", "docker exec -it -u 0 busybox sh"},
	} {
		v, path, err := a.lookup(strings.Fields(c.path))
		if err != nil {
			t.Fatal(err)
		}
		_, leaf := a.build(v, path)
		words := strings.Fields(c.words)
		failed := &engine.StartError{Code: 127, Text: `exec: "` + words[0] + `": executable file not found in $PATH`}
		got := a.withHint(leaf, failed, "busybox", words)
		if !strings.HasSuffix(got.Error(), ": "+c.want) || exitCode(got) != 127 {
			t.Errorf("%s busybox %s: %v, want the hint %s", c.path, c.words, got, c.want)
		}
	}
	v, path, err := a.lookup([]string{"run"})
	if err != nil {
		t.Fatal(err)
	}
	_, leaf := a.build(v, path)
	other := &engine.StartError{Code: 127, Text: `exec: "sh": executable file not found in $PATH`}
	for _, words := range [][]string{nil, {"sh"}, {"-x"}} {
		if got := a.withHint(leaf, other, "busybox", words); got != error(other) {
			t.Errorf("a hint where there is no need: %v", got)
		}
	}
}
