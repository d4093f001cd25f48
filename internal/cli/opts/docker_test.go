package opts

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/spf13/pflag"
)

// The file testdata/docker.json holds what a docker client answered to each
// command line below: the request that it sent, or its complaint. With -record
// it is written anew by the docker client on this machine; no daemon is
// needed.
var record = flag.Bool("record", false, "ask the docker client on this machine again")

const recorded = "testdata/docker.json"

// answer is what docker made of one command line.
type answer struct {
	Args  string
	Body  json.RawMessage `json:",omitempty"`
	Error string          `json:",omitempty"`
}

// commandLines are written with | between words.
func commandLines() []string {
	return strings.Split(strings.TrimSpace(`
b
b|sh|-c|echo $HOME
b|-it|sh
--|b|-x
b|--|-x
-it|b
-i|b
-t|b
-ti|--rm|b|bash
-a|stdin|b
-a|STDERR|-a|stdin|-i|b
-i|-a|stdout|b
-a|foo|b
-e|A=1|-e|B=|-e|A=2|b
-eA=1|b
-e|FROM_CALLER|-e|NOT_SET|b
-e|=x|b
-e||b
--env-file|testdata/env|-e|A=9|b
--env-file|testdata/env-space|b
--env-file|testdata/env-noname|b
--env-file|/nosuch|b
-l|a|-l|b=c=d|b
-l||b
-l|=x|b
--label-file|testdata/labels|-l|plain=2|b
--label-file|/nosuch|b
--annotation|a=b|--annotation|c|b
--entrypoint||b
--entrypoint|/bin/sh|b|-c|true
-u|1000:1000|-w|/src|-h|box|--domainname|example.org|b
--group-add|video|--group-add|44|b
--init|b
--init=false|b
--init=maybe|b
--privileged|--read-only|b
--cap-add|sys_admin|--cap-add|net_raw|--cap-drop|net_raw|b
--cap-drop|all|--cap-add|chown|--cap-add|CHOWN|b
--cap-add|CAP_SYS_PTRACE|b
--security-opt|no-new-privileges|--security-opt|label:disable|--security-opt|seccomp=unconfined|b
--security-opt|no-new-privileges:false|--security-opt|apparmor=x|b
--security-opt|seccomp=testdata/seccomp.json|b
--security-opt|seccomp=/nosuch|b
--security-opt|systempaths=unconfined|b
--sysctl|net.ipv4.ip_forward=1|--sysctl|kernel.shmmax=5|b
--sysctl|x|b
--sysctl|kernel.hostname=x|b
-v|/data|b
-v|/a:/b|b
-v|/a:/b:ro|b
-v|/a:/b:ro,z|b
-v|/a b:/c d|b
-v|./x:/y|b
-v|.:/y|b
-v|../x:/y:ro|b
-v|models:/models|b
-v|models:/models:nocopy|b
-v|/a:/b:ro:c|b
-v||b
-v|:/x|b
-v|/a:/b:|b
--mount|dst=/y|b
--mount|type=bind,src=/a,dst=/y|b
--mount|type=bind,source=./x,target=/y,readonly|b
--mount|type=bind,src=.,destination=/y,ro=true|b
--mount|TYPE=Volume,Dst=/x|b
--mount|type=tmpfs,dst=/y,tmpfs-size=1g,tmpfs-mode=1777|b
--mount|type=tmpfs,dst=/y,ro=0|b
--mount|type=volume,src=vol,dst=/y,volume-label=a=b,volume-label=c,volume-opt=x=y,volume-opt=z,volume-driver=q,volume-subpath=s,volume-nocopy|b
--mount|type=bind,src=/a,dst=/b,bind-nonrecursive|b
--mount|type=bind,src=/a,dst=/b,bind-recursive=readonly,ro,bind-propagation=rprivate|b
--mount|type=bind,src=/a,dst=/b,bind-recursive=writable,ro|b
--mount|type=bind,src=/a,dst=/b,bind-recursive=enabled|b
--mount|type=bind,src=/a,dst=/b,bind-recursive=disabled|b
--mount|type=bind,src=/a,dst=/b,bind-recursive=foo|b
--mount|type=bind,src=/a,dst=/b,bind-recursive=readonly|b
--mount|type=bind,src=/a,dst=/b,consistency=cached|b
--mount|type=image,src=i,dst=/b,image-subpath=x|b
--mount|"type=bind","src=/a,b",dst=/c|b
--mount|type=bind,src="a,dst=/x|b
--mount|type=bind|b
--mount|source=/x|b
--mount|type=bind,src=/x,dst=y,foo=bar|b
--mount|type=bind,foo|b
--mount|type=bind,ro=maybe,target=/x|b
--mount|type=bind,dst=/y,readonly=|b
--mount|type=tmpfs,target=/x,tmpfs-size=abc|b
--mount|type=tmpfs,target=/x,tmpfs-mode=999|b
--mount|type=bind,src=/a,dst=/x,volume-nocopy|b
--mount|type=volume,src=/a,dst=/x,bind-propagation=shared|b
--mount|type=volume,dst=/x,source=y,tmpfs-size=1|b
--mount|type=volume,dst=/x,volume-nocopy=foo|b
--mount| type=volume|b
--tmpfs|/x|--tmpfs|/y:size=64m,mode=1777|b
--device|/dev/null|b
--device|/dev/null:/dev/x|b
--device|/dev/null:r|b
--device|/dev/null:/dev/x:rw|b
--device|/dev/null:/a:q|b
--device||b
--device|/dev/x:foo|b
--device|a:b:c:d|b
--device-cgroup-rule|c 195:* rwm|b
--device-cgroup-rule|x|b
--ipc|host|--pid|host|--uts|host|--cgroupns|private|b
--ipc|container:x|--pid|container:x|b
--ipc|shareable|b
--pid|foo|b
--uts|foo|b
--cgroupns|foo|b
--userns|host|b
--userns|foo|b
--shm-size|16g|b
--shm-size|1.5g|b
--shm-size|x|b
--shm-size|-1|b
--network|host|b
--net=none|b
--network|container:x|b
--network|name=host|b
--network|foo=host|b
--network||b
--network|a|--network|b|b
--network|a|--network|a|b
--network|a|--network|bridge|b
--network|bridge|--link|x:y|b
--link|x|--link|y:z|b
--link|/x:/c/y|b
--link|a:b:c|b
--network|a|--link|x:y|--network-alias|n|--net-alias|m|b
--network|name=a,alias=x,alias=y,ip=10.0.0.5,ip6=fd00::5,mac-address=02:42:ac:11:00:09,driver-opt=k=v,gw-priority=-3|--network|name=b|b
--network|a|--ip|10.0.0.5|--ip6|fd00::5|--mac-address|02:42:ac:11:00:09|--link-local-ip|169.254.1.1|b
--network|a|--network|name=c,alias=q|--ip|10.0.0.5|b
--mac-address|02-42-ac-11-00-09|b
--mac-address|zz|b
--network|name=a,mac-address=zz|b
--network-alias|x|b
--network|name=bridge,alias=x|b
--network|name=a,foo=1|b
--network|name=a,gw-priority=x|b
--network|name=a,driver-opt=k|b
--network|name=a,alias=x|--network-alias|y|b
--network|name=a,ip=1.2.3.4|--ip|1.2.3.4|b
--network|name=a,ip6=::1|--ip6|::1|b
--network|name=a,mac-address=02:42:ac:11:00:09|--mac-address|02:42:ac:11:00:09|b
--network|name=a,link-local-ip=1.2.3.4|--link-local-ip|1.2.3.4|b
-p|8080:8080|b
-p|127.0.0.1:8080:8080/udp|b
-p|8080-8082:8080-8082|b
-p|[::1]:8080:8080|b
-p|80:80/tcp|--expose|90|--expose|91-92/udp|b
-p|abc|b
-p|80:abc|b
-p|80:|b
-p||b
-p|a:80|b
-p|99999:80|b
-p|70000|b
-p|80/foo|b
-p|1.2.3:80:80|b
-p|localhost:80:80|b
-p|1:2:3:4|b
-p|80-81:80-82|b
-p|5-3|b
-p|target=x|b
-P|b
-P|-p|80:80|--expose|90|b
--publish-all=false|b
-p|8080:80|-p|8080:80|b
-p|8080:80|-p|8081:80|b
-p|80|b
-p|0:80|b
-p|:80|b
-p|::80|b
-p|127.0.0.1::80|b
-p|127.0.0.1:0:80|b
-p|[::1]::80/udp|b
-p|::1:80:80|b
-p|[::]:8080:80|b
-p|0.0.0.0:8080:80|b
-p|[fe80::1%eth0]:80:80|b
-p|[127.0.0.1]:80:80|b
-p|127.0.0.1:8000-8010:80|b
-p|8000-8010:80|b
-p|8000-8002:80-82/udp|b
-p|80-82|b
-p|8000-8000:80|b
-p|80:80/TCP|b
-p|80:80/sctp|b
-p|80:80/|b
-p|80/|b
-p|/tcp|b
-p|1.2.3.4:80|b
-p|80:1.2.3.4:80|b
-p|+80:80|b
-p|-80:80|b
-p|80-:80|b
-p|80:80-|b
-p|080:080|b
-p|0:0|b
-p|0|b
-p|80:65536|b
-p|65535:65535|b
-p|65536:80|b
-p| 80:80|b
-p|80:80 |b
-p|80 :80|b
-p|a:b:c|b
-p|:::|b
-p|:|b
-p|[::1:80:80|b
-p|::1]:80:80|b
-p|5-3:80|b
-p|80:5-3|b
-p|80-90:80-82|b
-p|target=80|b
-p|target=80,published=8080|b
-p|target=80,published=8080,protocol=udp|b
-p|target=80,published=8080,mode=host|b
-p|target=80,published=8080,mode=ingress|b
-p|target=80,mode=x|b
-p|published=80|b
-p|target=80,published=x|b
-p|target=80,protocol=foo|b
-p|target=80-82,published=8080-8082|b
-p|target=80,foo|b
-p|target=|b
-p|=80|b
-p|target="80|b
--expose|80-82|b
--expose|80/sctp|b
--expose|80/foo|b
--expose|80/UDP|b
--expose|0|b
--expose|70000|b
--expose|80-82/udp|--expose|81/udp|-p|82/udp|b
--expose|abc|b
--expose|5-3|b
--expose||b
--expose|80:80|b
--expose|80/|b
--dns|1.1.1.1|--dns-search|example.org|--dns-search|.|--dns-option|ndots:2|b
--dns|x|b
--dns-search|a b|b
--add-host|a:1.2.3.4|--add-host|b=::1|--add-host|c:[::1]|--add-host|d:host-gateway|b
--add-host|x|b
--add-host|a:b|b
-m|1g|b
-m1g|b
--memory|1gb|b
--memory|1 g|b
--memory|1GiB|--memory-reservation|512m|--memory-swap|-1|b
--memory|abc|b
--memory|12q|b
-m|-1|b
--memory||b
--memory-swappiness|0|b
--memory-swappiness|300|b
--cpus|1.5|--cpu-shares|5|--cpuset-cpus|0-1|--cpuset-mems|0|b
--cpu-period|100000|--cpu-quota|50000|b
--cpus|abc|b
--cpus|0.0000000001|b
--pids-limit|-1|b
--pids-limit|100|--oom-score-adj|-500|b
--pids-limit|x|b
--cpu-rt-period|1000|--cpu-rt-runtime|500|--blkio-weight|100|--oom-kill-disable|b
--ulimit|nofile=1024|--ulimit|nofile=2:3|--ulimit|core=-1|b
--ulimit|x|b
--ulimit|nofile=a|b
--ulimit|nofile=2:1|b
--ulimit|foo=1|b
--ulimit|nofile=1:2:3|b
--restart|always|b
--restart|on-failure:3|b
--restart|unless-stopped|b
--restart||b
--restart|on-failure:x|b
--restart|:|b
--restart|always|--rm|b
--rm|--restart|no|b
--stop-signal|SIGINT|--stop-timeout|5|b
--stop-timeout|-1|b
--stop-timeout|x|b
--log-driver|json-file|--log-opt|max-size=1m|--log-opt|a|b
--log-driver|none|b
--log-driver|none|--log-opt|a=b|b
--health-cmd|curl -f localhost|--health-interval|3s|--health-retries|2|--health-start-period|1m|--health-start-interval|1s|--health-timeout|1s|b
--health-retries|3|b
--no-healthcheck|b
--health-cmd|x|--no-healthcheck|b
--health-interval|-1s|b
--health-retries|-1|b
--health-timeout|x|b
--disable-content-trust|--blkio-weight|0|b
--cgroup-parent|/jobs|b
--blkio-weight-device|/dev/sda:100|--blkio-weight-device|/dev/sdb:0|b
--blkio-weight-device|/dev/sda:5|b
--blkio-weight-device|sda:100|b
--device-read-bps|/dev/sda:1mb|--device-write-bps|/dev/sda:2048|b
--device-read-bps|/dev/sda:-1|b
--device-read-bps|/dev/sda|b
--device-read-iops|/dev/sda:100|--device-write-iops|/dev/sdb:7|b
--device-read-iops|/dev/sda:1k|b
--device-write-iops|/x:1|b
--foo|b
-e
`), "\n")
}

// callerEnv is the environment in which docker was asked.
func callerEnv(name string) (string, bool) {
	if name == "FROM_CALLER" {
		return "from caller", true
	}
	return "", false
}

func TestLikeDocker(t *testing.T) {
	answers := readAnswers(t)
	for i, line := range commandLines() {
		t.Run(line, func(t *testing.T) {
			if i >= len(answers) || answers[i].Args != line {
				t.Fatalf("%s has no answer for this command line: run the test with -record", recorded)
			}
			want := answers[i]
			got, err := build(strings.Split(line, "|"))
			if want.Error != "" {
				if err == nil || docker(err.Error()) != want.Error {
					t.Fatalf("got error:  %v\nwant error: %v", err, want.Error)
				}
				return
			}
			if err != nil {
				t.Fatalf("error where docker has none: %v", err)
			}
			compareRequest(t, want.Body, got)
		})
	}
}

// ours is what we say beyond docker's words where a choice is ours, too.
const ours = ` is none of auto, host, single and keep-id[:uid=N,gid=N]`

// docker takes off a complaint what docker does not say.
func docker(complaint string) string {
	if rest, ok := strings.CutSuffix(complaint, ours); ok {
		complaint, _, _ = strings.Cut(rest, `: "`)
	}
	return complaint
}

// build parses a command line as the create command does.
func build(args []string) (*Request, error) {
	fs := pflag.NewFlagSet("create", pflag.ContinueOnError)
	fs.SetInterspersed(false)
	fs.SetOutput(io.Discard)
	c := Register(fs, callerEnv)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() == 0 {
		return nil, errors.New("no image")
	}
	return c.Build(fs.Arg(0), fs.Args()[1:])
}

// compareRequest compares what docker sent with what we would ask for, with
// empty and absent taken as the same.
func compareRequest(t *testing.T, body []byte, got *Request) {
	t.Helper()
	var want struct {
		container.Config
		HostConfig       *container.HostConfig
		NetworkingConfig network.NetworkingConfig
	}
	body = bytes.ReplaceAll(body, []byte("$PWD"), []byte(workDir(t)))
	body = bytes.ReplaceAll(body, []byte("$UP"), []byte(workDir(t)[:strings.LastIndex(workDir(t), "/")]))
	if err := json.Unmarshal(body, &want); err != nil {
		t.Fatal(err)
	}
	hc := want.HostConfig
	// Docker keeps variables in a map and so sends them in any order.
	slices.Sort(want.Env)
	slices.Sort(got.Config.Env)
	// Docker writes down defaults that mean "not given".
	if s := hc.MemorySwappiness; s != nil && *s == -1 {
		hc.MemorySwappiness = nil
	}
	if p := hc.PidsLimit; p != nil && *p == 0 {
		hc.PidsLimit = nil
	}
	sameJSON(t, "Config", want.Config, got.Config)
	sameJSON(t, "HostConfig", hc, got.HostConfig)
	sameJSON(t, "NetworkingConfig", want.NetworkingConfig, network.NetworkingConfig{EndpointsConfig: got.Networks})
}

func sameJSON(t *testing.T, what string, want, got any) {
	t.Helper()
	w, g := plain(t, want), plain(t, got)
	if !reflect.DeepEqual(w, g) {
		t.Errorf("%s differs\ndocker: %v\nours:   %v", what, w, g)
	}
}

// compact is a request without its empty members.
func compact(t *testing.T, body []byte) string {
	t.Helper()
	b, err := json.Marshal(plain(t, json.RawMessage(body)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// plain is v as bare JSON without empty members.
func plain(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return withoutEmpty(out)
}

func withoutEmpty(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for k, e := range m {
		e = withoutEmpty(e)
		m[k] = e
		empty := e == nil || e == "" || e == float64(0) || e == false
		switch x := e.(type) {
		case []any:
			empty = len(x) == 0
		case map[string]any:
			// A set such as {"80/tcp": {}} has empty members that count.
			empty = len(x) == 0 && !strings.Contains(k, "/")
		}
		if empty {
			delete(m, k)
		}
	}
	return m
}

func workDir(t *testing.T) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return wd
}

func readAnswers(t *testing.T) []answer {
	t.Helper()
	if *record {
		recordAnswers(t)
	}
	b, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	var answers []answer
	if err := json.Unmarshal(b, &answers); err != nil {
		t.Fatal(err)
	}
	return answers
}

// recordAnswers runs docker create against a server that notes the request
// and refuses it.
func recordAnswers(t *testing.T) {
	t.Helper()
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.50")
		w.Header().Set("Ostype", "linux")
		if strings.HasSuffix(r.URL.Path, "/_ping") {
			return
		}
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"message":"noted"}`)
	}))
	defer srv.Close()
	var answers []answer
	for _, line := range commandLines() {
		body = nil
		args := append([]string{"-H", strings.Replace(srv.URL, "http", "tcp", 1), "create"}, strings.Split(line, "|")...)
		cmd := exec.Command("docker", args...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "FROM_CALLER=from caller", "HOME=/nonexistent"}
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Fatalf("docker create %s: unexpected success: %s", line, out)
		}
		a := answer{Args: line}
		if body != nil {
			wd := workDir(t)
			text := strings.ReplaceAll(compact(t, body), wd, "$PWD")
			a.Body = []byte(strings.ReplaceAll(text, wd[:strings.LastIndex(wd, "/")], "$UP"))
		} else {
			first, _, _ := strings.Cut(string(out), "\n")
			a.Error = strings.TrimPrefix(first, "docker: ")
		}
		answers = append(answers, a)
	}
	var out bytes.Buffer
	out.WriteString("[\n")
	for i, a := range answers {
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
		if i < len(answers)-1 {
			out.WriteByte(',')
		}
		out.WriteByte('\n')
	}
	out.WriteString("]\n")
	if err := os.WriteFile(recorded, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
