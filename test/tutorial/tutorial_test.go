package tutorial

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/test/lab"
)

func TestTutorial(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		p := l.Place(t, t.TempDir())
		cache := filepath.Join(p.Home, ".cache/huggingface/hub/models--tiny")
		if err := os.MkdirAll(cache, 0o755); err != nil {
			t.Fatal(err)
		}
		steps := []struct {
			name string
			do   func(*testing.T, *lab.Place, *lab.Shell)
		}{
			{"pull", pull}, {"first", first}, {"leave", leave}, {"window", window},
			{"background", background}, {"server", server}, {"tidy", tidy},
		}
		for _, s := range steps {
			if !t.Run(s.name, func(t *testing.T) { s.do(t, p, p.Shell(t)) }) {
				break
			}
		}
		if left := p.Clean(); len(left) > 0 {
			t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
		}
	})
}

const run = "docker run -it --name sglang --shm-size 16g -v ~/.cache/huggingface:/root/.cache/huggingface -v $PWD/work:/work lmsysorg/sglang:latest"

func pull(t *testing.T, p *lab.Place, s *lab.Shell) {
	out := s.Host(0, "docker pull lmsysorg/sglang:latest")
	lab.Match(t, out, `latest: Pulling from lmsysorg/sglang`)
	lab.Match(t, out, `Status: Downloaded newer image for lmsysorg/sglang:latest`)
	lab.Match(t, s.Host(0, "docker images"), `lmsysorg/sglang`)
	s.Host(0, "docker image inspect lmsysorg/sglang:latest > image.json")
}

// first: run -it with the tutorial's options, look around, leave with exit,
// come back with start -ai, leave with Ctrl-D.
func first(t *testing.T, p *lab.Place, s *lab.Shell) {
	s.Host(0, "mkdir -p work && echo from the host > work/note")
	s.Type(run, lab.ContainerPrompt)
	lab.Match(t, s.Type("df -h /dev/shm | tail -1", lab.ContainerPrompt), `\b16G\b`)
	lab.Match(t, s.Type("ls ~/.cache/huggingface/hub", lab.ContainerPrompt), `models--tiny`)
	lab.Match(t, s.Type("cat /work/note; pwd; whoami", lab.ContainerPrompt), `from the host\n/sgl-workspace/sglang\nroot`)
	s.Type("echo from the container > /work/answer", lab.ContainerPrompt)
	lab.Match(t, s.Type("python3 -c 'print(6*7)'", lab.ContainerPrompt), `^42$`)
	// Ctrl-C reaches the program.
	s.Keys("sleep 1000\n")
	s.Wait("sleep 1000\r?\n")
	time.Sleep(500 * time.Millisecond) // nobody is faster than the shell's fork
	s.Keys("\x03")
	s.Wait(lab.ContainerPrompt)
	// The program answers with colours, history works.
	s.Keys("\x10")
	s.Wait(`sleep 1000`)
	time.Sleep(500 * time.Millisecond) // a signal that meets readline while it still draws waits for the next key
	s.Keys("\x03")
	s.Wait(lab.ContainerPrompt)
	s.Type("exit 3", lab.HostPrompt)
	lab.Match(t, s.Type("echo $?", lab.HostPrompt), `^3$`)
	lab.Match(t, s.Host(0, "cat work/answer"), `from the container`)
	lab.Match(t, s.Host(0, "stat -c owner=%u work/answer"), "owner="+itoa(os.Getuid()))
	if out := s.Host(0, "docker ps"); strings.Contains(out, "sglang:latest") {
		t.Fatalf("ended, but ps shows it:\n%s", out)
	}
	lab.Match(t, s.Host(0, "docker ps -a"), `lmsysorg/sglang:latest .*Exited \(3\) .* sglang`)
	out := s.Host(125, run)
	lab.Match(t, out, `already in use`)
	s.Type("docker start -ai sglang", lab.ContainerPrompt)
	s.Keys("\x04")
	s.Wait(lab.HostPrompt)
	lab.Match(t, s.Host(0, "docker rm sglang"), `^sglang$`)
}

// leave: Ctrl-P Ctrl-Q, attach, exec beside it, rm refused, stop.
func leave(t *testing.T, p *lab.Place, s *lab.Shell) {
	s.Type(run+" /bin/bash", lab.ContainerPrompt)
	s.Type("cd /tmp; echo here > mark", lab.ContainerPrompt)
	s.Keys("\x10\x11")
	s.Wait(lab.HostPrompt)
	lab.Match(t, s.Host(0, "docker ps"), `Up .* sglang`)
	s.Type("docker exec -it sglang bash", lab.ContainerPrompt)
	lab.Match(t, s.Type("cat /tmp/mark; tty", lab.ContainerPrompt), `here\n/dev/pts/1`)
	s.Type("exit", lab.HostPrompt)
	s.Attach("docker attach sglang")
	lab.Match(t, s.Type("pwd", lab.ContainerPrompt), `^/tmp$`)
	s.Keys("\x10\x11")
	s.Wait(lab.HostPrompt)
	out := s.Host(1, "docker rm sglang")
	lab.Match(t, out, `docker stop|stop`)
	lab.Match(t, out, `rm -f|force`)
	lab.Match(t, s.Host(0, "docker exec -e GREETING=hi sglang sh -c 'echo $GREETING'"), `^hi$`)
	lab.Match(t, s.Host(0, "docker restart -t 1 sglang"), `^sglang$`)
	lab.Match(t, s.Host(0, "docker exec sglang cat /tmp/mark"), `^here$`)
	lab.Match(t, s.Host(0, "docker stop -t 1 sglang"), `^sglang$`)
	lab.Match(t, s.Host(0, "docker rm sglang"), `^sglang$`)
}

// window: the terminal closes, the program goes on.
func window(t *testing.T, p *lab.Place, s *lab.Shell) {
	s.Type(run, lab.ContainerPrompt)
	s.Type("KEPT=yes", lab.ContainerPrompt)
	s.Close()
	lab.Match(t, p.Must(t, "ps"), `Up .* sglang`)
	again := p.Shell(t)
	again.Attach("docker attach sglang")
	lab.Match(t, again.Type("echo $KEPT", lab.ContainerPrompt), `^yes$`)
	again.Keys("\x04")
	again.Wait(lab.HostPrompt)
	again.Host(0, "docker rm sglang")
}

func background(t *testing.T, p *lab.Place, s *lab.Shell) {
	lab.Match(t, s.Host(0, "docker run -d --name bg --network none lmsysorg/sglang:latest sleep infinity"), `^[0-9a-f]{64}$`)
	lab.Match(t, s.Host(0, "docker ps --format '{{.Names}} {{.State}}'"), `^bg running$`)
	lab.Match(t, s.Host(0, "docker run --rm -e NAME=world lmsysorg/sglang:latest bash -c 'echo hello $NAME'"), `^hello world$`)
	lab.Match(t, s.Host(0, "docker run --rm --ipc=host lmsysorg/sglang:latest readlink /proc/self/ns/ipc; readlink /proc/self/ns/ipc"), `(ipc:\[\d+\])\n.*`)
	s.Host(42, "docker run --rm lmsysorg/sglang:latest bash -c 'exit 42'")
	s.Host(0, "docker rm -f bg")
}

func server(t *testing.T, p *lab.Place, s *lab.Shell) {
	s.Host(0, `docker run -d --name server --shm-size 32g --network host --ipc=host -v ~/.cache/huggingface:/root/.cache/huggingface --env "HF_TOKEN=hf_not_a_secret" lmsysorg/sglang:latest python3 -m sglang.launch_server --model-path meta-llama/Llama-3.1-8B-Instruct --host 0.0.0.0 --port 30000`)
	body, err := lab.Get("http://127.0.0.1:30000/get_model_info", lab.Patience)
	if err != nil {
		logs := p.Run("logs", "server")
		t.Fatalf("%v\n%s%s", err, logs.Out, logs.Err)
	}
	lab.Match(t, body, `"hf_token": "hf_not_a_secret"`)
	lab.Match(t, body, `"cache": \["hub"\]`)
	lab.Match(t, body, `"pid": 1\b`)
	lab.Match(t, s.Host(0, "docker logs server"), `fired up and ready to roll`)
	s.Host(0, "docker stop server")
	lab.Match(t, s.Host(0, "docker ps -a --format '{{.Names}} {{.Status}}'"), `^server Exited \(0\)`)
	s.Host(0, "docker start server")
	if _, err := lab.Get("http://127.0.0.1:30000/health", lab.Patience); err != nil {
		t.Fatal(err)
	}
	s.Host(0, "docker rm -f server")
	if _, err := lab.Get("http://127.0.0.1:30000/health", 0); err == nil {
		t.Fatal("removed, but the server answers")
	}
}

func tidy(t *testing.T, p *lab.Place, s *lab.Shell) {
	s.Host(0, "docker rmi lmsysorg/sglang:latest")
	if out := p.Must(t, "images", "-q"); out != "" {
		t.Fatalf("images are left:\n%s", out)
	}
}
