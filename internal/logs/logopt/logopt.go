// Package logopt gives --log-driver and --log-opt their meaning: it checks them
// as Docker does and makes the options of package logs. It is apart from that
// because only the command needs it, with all it links, not the shim.
package logopt

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	units "github.com/docker/go-units"

	"berth/internal/logs"
)

// Source is the container that --log-opt tag, labels and env speak of.
type Source struct {
	ID, Name       string
	ImageID, Image string // the digest, and the name as it was given
	Command        []string
	Labels         map[string]string
	Env            []string
}

// Drivers lists the names that --log-driver takes.
func Drivers() []string {
	return []string{logs.Journald, logs.JSONFile, logs.Local, logs.None, logs.SyslogD}
}

// Check reports what is wrong with a driver and its options, before any
// container is made. The options it returns are enough to read a log.
func Check(driver string, config map[string]string) (logs.Options, error) {
	return parse(driver, config)
}

// Resolve makes the options of a container that is about to start. It looks up
// the name of a syslog server.
func Resolve(driver string, config map[string]string, s Source) (logs.Options, error) {
	o, err := parse(driver, config)
	if err != nil {
		return o, err
	}
	if o.Syslog != nil {
		if err := lookUp(o.Syslog); err != nil {
			return o, err
		}
	}
	return o, identify(&o, config, s)
}

// known are the options of each driver. Those of common choose what is told
// about the container, those of sending go to drivers with a copy.
func known(driver string) []string {
	common := []string{"labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"}
	files := []string{"max-size", "max-file", "compress"}
	sending := []string{"cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"}
	switch driver {
	case "", logs.JSONFile, logs.Local:
		return append(common, files...)
	case logs.SyslogD:
		return append(append(common, sending...), "syslog-address", "syslog-facility", "syslog-format")
	case logs.Journald:
		return append(common, sending...)
	}
	return nil
}

func parse(driver string, config map[string]string) (logs.Options, error) {
	o := logs.Options{Driver: driver}
	if driver == logs.JSONFile {
		o.Driver = ""
	}
	name := driver
	if name == "" {
		name = logs.JSONFile
	}
	if !slices.Contains(Drivers(), name) {
		return o, fmt.Errorf("logger: no log driver named '%s' is registered: %s are", driver, strings.Join(Drivers(), ", "))
	}
	for _, k := range slices.Sorted(maps.Keys(config)) {
		switch {
		case name == logs.None: // takes whatever was meant for another
		case driver == logs.SyslogD && strings.HasPrefix(k, "syslog-tls-"):
			return o, fmt.Errorf("log opt '%s': encrypted syslog is not supported: send to a syslog daemon on this machine that forwards it", k)
		case !slices.Contains(known(driver), k):
			return o, fmt.Errorf("unknown log opt '%s' for %s log driver", k, name)
		}
	}
	var err error
	switch name {
	case logs.None:
		return o, nil
	case logs.JSONFile:
		err = files(&o, config, "", logs.Options{MaxFiles: 1})
	case logs.Local:
		err = files(&o, config, "", logs.Options{MaxSize: 20 << 20, MaxFiles: 5, Compress: true})
	default:
		err = sending(&o, config)
	}
	if err == nil {
		err = buffering(&o, config)
	}
	if err == nil {
		_, err = expand(config["tag"], Source{})
	}
	for _, k := range []string{"labels-regex", "env-regex"} {
		if err == nil {
			if _, rerr := regexp.Compile(config[k]); rerr != nil {
				err = fmt.Errorf("log opt '%s': %w", k, rerr)
			}
		}
	}
	return o, err
}

// files reads the options about files, which have a prefix when they are about
// the copy.
func files(o *logs.Options, config map[string]string, prefix string, byDefault logs.Options) (err error) {
	o.MaxSize, o.MaxFiles, o.Compress = byDefault.MaxSize, byDefault.MaxFiles, byDefault.Compress
	if v, ok := config[prefix+"max-size"]; ok && v != "-1" {
		if o.MaxSize, err = units.RAMInBytes(v); err != nil {
			return fmt.Errorf("log opt '%smax-size': %w", prefix, err)
		}
		if o.MaxSize <= 0 {
			return fmt.Errorf("log opt '%smax-size' should be a positive number", prefix)
		}
	} else if ok {
		o.MaxSize = 0
	}
	if v, ok := config[prefix+"max-file"]; ok {
		if o.MaxFiles, err = strconv.Atoi(v); err != nil {
			return fmt.Errorf("log opt '%smax-file': invalid number %q", prefix, v)
		}
		if o.MaxFiles < 1 {
			return fmt.Errorf("log opt '%smax-file' cannot be less than 1", prefix)
		}
	}
	v, asked := config[prefix+"compress"]
	if asked {
		if o.Compress, err = strconv.ParseBool(v); err != nil {
			return fmt.Errorf("log opt '%scompress': invalid boolean %q", prefix, v)
		}
	}
	if o.Compress && (o.MaxFiles == 1 || o.MaxSize == 0) {
		if asked {
			return errors.New("compress cannot be true when max-file is less than 2 or max-size is not set")
		}
		o.Compress = false
	}
	return nil
}

// sending reads the options of drivers that send lines elsewhere.
func sending(o *logs.Options, config map[string]string) (err error) {
	if v, ok := config["cache-disabled"]; ok {
		if o.NoCopy, err = strconv.ParseBool(v); err != nil {
			return fmt.Errorf("log opt 'cache-disabled': invalid boolean %q", v)
		}
	}
	if err := files(o, config, "cache-", logs.Options{MaxSize: 20 << 20, MaxFiles: 5, Compress: true}); err != nil {
		return err
	}
	if o.Driver == logs.SyslogD {
		o.Syslog, err = syslog(config)
	}
	return err
}

func buffering(o *logs.Options, config map[string]string) error {
	mode := config["mode"]
	if mode != "" && mode != "blocking" && mode != "non-blocking" {
		return fmt.Errorf("logger: logging mode not supported: %s", mode)
	}
	v, ok := config["max-buffer-size"]
	if ok && mode != "non-blocking" {
		return errors.New("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
	}
	if mode == "non-blocking" {
		o.Buffer = 1 << 20
	}
	if ok {
		n, err := units.RAMInBytes(v)
		if err != nil || n <= 0 {
			return fmt.Errorf("error parsing option max-buffer-size: invalid size: '%s'", v)
		}
		o.Buffer = n
	}
	return nil
}

// identify fills in what a driver tells about the container. Docker's json-file
// and local have a tag only if one was asked for.
func identify(o *logs.Options, config map[string]string, s Source) error {
	tag := config["tag"]
	sends := o.Driver == logs.SyslogD || o.Driver == logs.Journald
	if tag == "" && sends {
		tag = "{{.ID}}"
	}
	var err error
	if o.Container.Tag, err = expand(tag, s); err != nil {
		return err
	}
	if sends {
		o.Container.ID, o.Container.Name, o.Container.Image = s.ID, s.Name, s.Image
	}
	attrs, err := chosen(config, s)
	if err != nil {
		return err
	}
	if o.Container.Tag != "" && !sends {
		attrs["tag"] = o.Container.Tag
	}
	if len(attrs) > 0 {
		o.Container.Attrs = attrs
	}
	return nil
}

// chosen are the labels and variables that labels, labels-regex, env and
// env-regex name.
func chosen(config map[string]string, s Source) (map[string]string, error) {
	attrs := map[string]string{}
	pick := func(list, pattern string, all map[string]string) error {
		for _, k := range strings.Split(config[list], ",") {
			if v, ok := all[k]; ok && k != "" {
				attrs[k] = v
			}
		}
		if config[pattern] == "" {
			return nil
		}
		re, err := regexp.Compile(config[pattern])
		for k, v := range all {
			if err == nil && re.MatchString(k) {
				attrs[k] = v
			}
		}
		return err
	}
	env := map[string]string{}
	for _, kv := range s.Env {
		if k, v, ok := strings.Cut(kv, "="); ok {
			env[k] = v
		}
	}
	return attrs, errors.Join(pick("labels", "labels-regex", s.Labels), pick("env", "env-regex", env))
}

// expand fills in a tag: Docker's template, of which the fields are understood.
func expand(tag string, s Source) (string, error) {
	host, _ := os.Hostname()
	short := func(id string) string {
		id = strings.TrimPrefix(id, "sha256:")
		return id[:min(12, len(id))]
	}
	fields := map[string]string{
		"ID": short(s.ID), "FullID": s.ID, "Name": s.Name, "ImageID": short(s.ImageID), "ImageFullID": s.ImageID,
		"ImageName": s.Image, "DaemonName": "berth", "Hostname": host, "Command": strings.Join(s.Command, " "),
	}
	var b strings.Builder
	for rest := tag; ; {
		text, after, ok := strings.Cut(rest, "{{")
		b.WriteString(text)
		if !ok {
			return b.String(), nil
		}
		field, next, closed := strings.Cut(after, "}}")
		v, known := fields[strings.TrimPrefix(strings.TrimSpace(field), ".")]
		if !closed || !known {
			names := slices.Sorted(maps.Keys(fields))
			return "", fmt.Errorf("log opt 'tag': cannot expand %q: known are {{.%s}}", tag, strings.Join(names, "}}, {{."))
		}
		b.WriteString(v)
		rest = next
	}
}

// lookUp replaces the name of a server by its address: the shim, which may
// connect again much later, links no resolver.
func lookUp(s *logs.Syslog) error {
	if s.Network != "udp" && s.Network != "tcp" {
		return nil
	}
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return fmt.Errorf("log opt 'syslog-address': %w", err)
	}
	if host == "" {
		host = "localhost"
	}
	ips, err := net.LookupHost(host)
	if err != nil {
		return fmt.Errorf("failed to initialize logging driver: %w", err)
	}
	s.Address = net.JoinHostPort(ips[0], port)
	return nil
}
