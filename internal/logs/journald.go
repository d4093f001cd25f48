package logs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// journald is a driver that sends each line to systemd's journal, with the
// fields that Docker sends. The protocol is a datagram of fields: see "Native
// Journal Protocol", systemd.io/JOURNAL_NATIVE_PROTOCOL.
type journald struct {
	link
	fields []byte // that are the same for all lines
	b      []byte
}

const journalSocket = "/run/systemd/journal/socket"

func openJournald(socket string, o Options) (driver, error) {
	j := &journald{link: link{network: "unixgram", address: socket}}
	var err error
	if j.f, err = dial(j.network, j.address); err != nil {
		return nil, errors.New("journald is not enabled on this host: " + err.Error())
	}
	c := o.Container
	for _, kv := range [][2]string{
		{"CONTAINER_ID", c.ID[:min(12, len(c.ID))]}, {"CONTAINER_ID_FULL", c.ID}, {"CONTAINER_NAME", c.Name},
		{"CONTAINER_TAG", c.Tag}, {"IMAGE_NAME", c.Image}, {"SYSLOG_IDENTIFIER", c.Tag},
	} {
		j.fields = appendField(j.fields, kv[0], []byte(kv[1]))
	}
	for _, k := range slices.Sorted(maps.Keys(c.Attrs)) {
		if name := fieldName(k); name != "" {
			j.fields = appendField(j.fields, name, []byte(c.Attrs[k]))
		}
	}
	return j, nil
}

func (j *journald) add(e entry) {
	b := append(j.b[:0], j.fields...)
	line, whole := bytes.CutSuffix(e.line, []byte{'\n'})
	b = appendField(b, "MESSAGE", line)
	priority := "6" // info
	if e.stream == Stderr {
		priority = "3" // error
	}
	b = appendField(b, "PRIORITY", []byte(priority))
	b = appendField(b, "SYSLOG_TIMESTAMP", e.time.UTC().AppendFormat(nil, time.RFC3339Nano))
	if !whole {
		b = appendField(b, "CONTAINER_PARTIAL_MESSAGE", []byte("true"))
	}
	j.send(b)
	j.b = b
}

func (j *journald) flush() {}

// appendField writes a value with its length, so that it can be anything.
func appendField(b []byte, name string, value []byte) []byte {
	b = append(append(b, name...), '\n')
	b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	return append(append(b, value...), '\n')
}

// fieldName makes the name of a field of a label's: capital letters, digits and
// underscores, of which none at the start, as those are the journal's own.
func fieldName(label string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, label)
	name = strings.TrimLeft(name, "_0123456789")
	return name[:min(64, len(name))]
}
