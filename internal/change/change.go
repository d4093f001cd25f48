// Package change applies instructions of a Dockerfile that say how an image is
// to be run, CMD, ENV, LABEL and others, to the configuration of an image:
// what `commit --change` and `import --change` take. It is pure.
package change

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// Config is what an image says of how it is run.
type Config = dockerspec.DockerOCIImageConfig

// Apply carries out the lines in their order. On error c may be half changed.
func Apply(c *Config, lines []string) error {
	a := &applier{c: c}
	for _, text := range lines {
		list := split(text)
		if len(list) == 0 {
			return errors.New("file with no instructions")
		}
		for _, line := range list {
			if err := a.line(line); err != nil {
				return err
			}
		}
	}
	return nil
}

// split makes lines of a text: one that ends with a backslash goes on, comments
// and empty ones go.
func split(text string) []string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\\\n", " ")
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out
}

type applier struct {
	c      *Config
	cmdSet bool // by a line before: an ENTRYPOINT leaves it
}

func (a *applier) line(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	name, rest := strings.ToUpper(word), strings.TrimSpace(rest)
	do, ok := a.instruction(name)
	if !ok {
		return fmt.Errorf("%s is not a valid change command", name)
	}
	if rest == "" && (name == "USER" || name == "WORKDIR") {
		return fmt.Errorf("%s requires exactly one argument", name)
	}
	if rest == "" {
		return fmt.Errorf("%s requires at least one argument", name)
	}
	if err := do(rest); err != nil {
		return fmt.Errorf("cannot apply %q: %w", line, err)
	}
	return nil
}

func (a *applier) instruction(name string) (do func(rest string) error, ok bool) {
	switch name {
	case "CMD":
		return a.cmd, true
	case "ENTRYPOINT":
		return a.entrypoint, true
	case "ENV":
		return a.env, true
	case "EXPOSE":
		return a.expose, true
	case "HEALTHCHECK":
		return a.healthcheck, true
	case "LABEL":
		return a.label, true
	case "ONBUILD":
		return a.onbuild, true
	case "STOPSIGNAL":
		return a.text(&a.c.StopSignal), true
	case "USER":
		return a.text(&a.c.User), true
	case "VOLUME":
		return a.volume, true
	case "WORKDIR":
		return a.workdir, true
	}
	return nil, false
}

// command reads a JSON array of words, or a line for the shell.
func command(s string) ([]string, error) {
	if words, ok := jsonWords(s); ok {
		return words, nil
	}
	var any []json.RawMessage
	if json.Unmarshal([]byte(s), &any) == nil {
		return nil, errors.New("when using JSON array syntax, arrays must be comprised of strings only")
	}
	return []string{"/bin/sh", "-c", s}, nil
}

func (a *applier) cmd(s string) (err error) {
	a.cmdSet = true
	a.c.Cmd, err = command(s)
	return err
}

// onbuild keeps an instruction for those who build on the image.
func (a *applier) onbuild(s string) error {
	switch word, _, _ := strings.Cut(s, " "); strings.ToUpper(word) {
	case "ONBUILD":
		return errors.New("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
	case "MAINTAINER", "FROM":
		return fmt.Errorf("%s isn't allowed as an ONBUILD trigger", strings.ToUpper(word))
	}
	a.c.OnBuild = append(slices.Clone(a.c.OnBuild), s)
	return nil
}

func jsonWords(s string) ([]string, bool) {
	if !strings.HasPrefix(s, "[") {
		return nil, false
	}
	words := []string{}
	err := json.Unmarshal([]byte(s), &words)
	return words, err == nil
}

func (a *applier) entrypoint(s string) (err error) {
	a.c.Entrypoint, err = command(s)
	if !a.cmdSet {
		a.c.Cmd = nil // it was meant for the old one
	}
	return err
}

// text is for an instruction with one text, whatever spaces it has.
func (a *applier) text(dst *string) func(string) error {
	return func(s string) (err error) {
		*dst, err = a.expand(s)
		return err
	}
}

// pairs reads "k=v k2=v2", or "k v" as the whole line.
func (a *applier) pairs(s string, set func(k, v string)) error {
	first, rest, _ := strings.Cut(s, " ")
	if !strings.Contains(first, "=") {
		if strings.TrimSpace(rest) == "" {
			return errors.New("it must have two arguments")
		}
		value, err := a.expand(strings.TrimSpace(rest))
		if err != nil {
			return err
		}
		set(first, value)
		return nil
	}
	words, err := a.words(s)
	if err != nil {
		return err
	}
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if ok && k == "" {
			return errors.New("names can not be blank")
		}
		if !ok {
			return fmt.Errorf("%q is not NAME=VALUE", w)
		}
		set(k, v)
	}
	return nil
}

func (a *applier) env(s string) error {
	// All values of a line see the variables as they were before it.
	env := slices.Clone(a.c.Env)
	err := a.pairs(s, func(k, v string) {
		i := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, k+"=") })
		if i < 0 {
			env = append(env, k+"="+v)
		} else {
			env[i] = k + "=" + v
		}
	})
	if err == nil {
		a.c.Env = env
	}
	return err
}

func (a *applier) label(s string) error {
	labels := maps.Clone(a.c.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	err := a.pairs(s, func(k, v string) { labels[k] = v })
	if err == nil {
		a.c.Labels = labels
	}
	return err
}

func (a *applier) volume(s string) error {
	paths, ok := jsonWords(s)
	if !ok {
		var err error
		if paths, err = a.words(s); err != nil {
			return err
		}
	}
	if len(paths) == 0 {
		return errors.New("VOLUME requires at least one argument")
	}
	volumes := maps.Clone(a.c.Volumes)
	if volumes == nil {
		volumes = map[string]struct{}{}
	}
	for _, p := range paths {
		if p = strings.TrimSpace(p); p == "" {
			return errors.New("it has an empty path")
		}
		volumes[p] = struct{}{}
	}
	a.c.Volumes = volumes
	return nil
}

func (a *applier) workdir(s string) error {
	var dir string
	if err := a.text(&dir)(s); err != nil {
		return err
	}
	if !path.IsAbs(dir) {
		dir = path.Join("/", a.c.WorkingDir, dir)
	}
	a.c.WorkingDir = path.Clean(dir)
	return nil
}

// expose reads "80", "80/tcp", "8000-8010/udp". What stands before a colon is
// the host's and no concern of an image's.
func (a *applier) expose(s string) error {
	words, err := a.words(s)
	if err != nil {
		return err
	}
	ports := maps.Clone(a.c.ExposedPorts)
	if ports == nil {
		ports = map[string]struct{}{}
	}
	for _, w := range words {
		if w == "" {
			continue // a variable that is not set
		}
		numbers, proto, ok := strings.Cut(strings.ToLower(w[strings.LastIndexByte(w, ':')+1:]), "/")
		if !ok {
			proto = "tcp"
		}
		low, high, isRange := strings.Cut(numbers, "-")
		if !isRange {
			high = low
		}
		first, err1 := strconv.ParseUint(low, 10, 16)
		last, err2 := strconv.ParseUint(high, 10, 16)
		if err1 != nil || err2 != nil || first > last || proto != "tcp" && proto != "udp" && proto != "sctp" {
			return fmt.Errorf("Invalid containerPort: %s", w)
		}
		for n := first; n <= last; n++ {
			ports[fmt.Sprintf("%d/%s", n, proto)] = struct{}{}
		}
	}
	a.c.ExposedPorts = ports
	return nil
}

// healthcheck reads "NONE" or "[--interval=…] CMD …".
func (a *applier) healthcheck(s string) error {
	h := &dockerspec.HealthcheckConfig{}
	for strings.HasPrefix(s, "--") {
		var flag string
		flag, s, _ = strings.Cut(s, " ")
		s = strings.TrimSpace(s)
		if err := healthFlag(h, flag); err != nil {
			return err
		}
	}
	kind, rest, _ := strings.Cut(s, " ")
	rest = strings.TrimSpace(rest)
	switch kind = strings.ToUpper(kind); {
	case kind == "NONE" && rest == "":
		h.Test = []string{"NONE"}
	case kind == "CMD" && rest != "":
		if words, ok := jsonWords(rest); ok {
			h.Test = append([]string{"CMD"}, words...)
		} else {
			h.Test = []string{"CMD-SHELL", rest}
		}
	default:
		return errors.New("it must be NONE, or CMD with a command")
	}
	a.c.Healthcheck = h
	return nil
}

func healthFlag(h *dockerspec.HealthcheckConfig, flag string) error {
	name, value, _ := strings.Cut(flag, "=")
	if name == "--retries" {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return fmt.Errorf("--retries must be at least 1, not %q", value)
		}
		h.Retries = n
		return nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		return fmt.Errorf("%s needs a time such as 30s, not %q", name, value)
	}
	switch name {
	case "--interval":
		h.Interval = d
	case "--timeout":
		h.Timeout = d
	case "--start-period":
		h.StartPeriod = d
	case "--start-interval":
		h.StartInterval = d
	default:
		return fmt.Errorf("unknown flag %s", name)
	}
	return nil
}
