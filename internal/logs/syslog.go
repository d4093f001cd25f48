package logs

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"time"
)

// syslog is a driver that sends each line to a syslog server, in the forms of
// RFC 3164, RFC 5424, or the one between programs and the daemon of their
// machine, which has no host name.
type syslog struct {
	link
	o    Options
	host string
	pid  string
	b    []byte
}

// Severities, RFC 5424 section 6.2.1.
const (
	severityError = 3
	severityInfo  = 6
)

func openSyslog(o Options) (driver, error) {
	s := &syslog{o: o, pid: strconv.Itoa(os.Getpid())}
	s.host, _ = os.Hostname()
	var err error
	if o.Syslog.Network != "" {
		s.network, s.address = o.Syslog.Network, o.Syslog.Address
		s.f, err = dial(s.network, s.address)
		return s, err
	}
	for _, path := range []string{"/dev/log", "/var/run/syslog", "/var/run/log"} {
		for _, network := range []string{"unixgram", "unix"} {
			if s.f, err = dial(network, path); err == nil {
				s.network, s.address = network, path
				return s, nil
			}
		}
	}
	return nil, errors.New("no syslog daemon listens on /dev/log: start one, or name another with --log-opt syslog-address=PROTOCOL://ADDRESS")
}

func (s *syslog) add(e entry) {
	s.b = s.format(s.b[:0], e)
	s.send(s.b)
}

func (s *syslog) flush() {}

func (s *syslog) format(b []byte, e entry) []byte {
	severity := severityInfo
	if e.stream == Stderr {
		severity = severityError
	}
	b = append(b, '<')
	b = strconv.AppendInt(b, int64(s.o.Syslog.Facility*8+severity), 10)
	b = append(b, '>')
	tag := s.o.Container.Tag
	switch s.o.Syslog.Format {
	case "rfc5424", "rfc5424micro":
		layout := time.RFC3339
		if s.o.Syslog.Format == "rfc5424micro" {
			layout = "2006-01-02T15:04:05.000000Z07:00"
		}
		b = append(b, "1 "...)
		b = e.time.AppendFormat(b, layout)
		for _, field := range []string{s.host, tag, s.pid, tag, "-"} {
			b = append(append(b, ' '), field...)
		}
	case "rfc3164":
		b = e.time.AppendFormat(b, time.Stamp)
		b = append(append(b, ' '), s.host...)
		b = append(append(b, ' '), tag+"["+s.pid+"]:"...)
	default:
		b = e.time.AppendFormat(b, time.Stamp)
		b = append(append(b, ' '), tag+"["+s.pid+"]:"...)
	}
	b = append(b, ' ')
	b = append(b, bytes.TrimSuffix(e.line, []byte{'\n'})...)
	return append(b, '\n')
}
