package logs

// Options say what becomes of a container's output. The zero value is a
// json-file without end.
type Options struct {
	Driver    string    `json:"driver,omitempty"`   // one of the names below; empty is JSONFile
	MaxSize   int64     `json:"maxSize,omitempty"`  // bytes of a file; 0 is without end
	MaxFiles  int       `json:"maxFiles,omitempty"` // with the current one; 0 is 1
	Compress  bool      `json:"compress,omitempty"` // old files
	Buffer    int64     `json:"buffer,omitempty"`   // bytes of lines that may wait for the driver; 0: the program waits
	NoCopy    bool      `json:"noCopy,omitempty"`   // syslog, journald: `logs` cannot be read
	Container Container `json:"container,omitzero"` // where the output comes from
	Syslog    *Syslog   `json:"syslog,omitempty"`   // of that driver
}

// Names of the drivers.
const (
	JSONFile = "json-file"
	Local    = "local"
	None     = "none"
	SyslogD  = "syslog"
	Journald = "journald"
)

// Container is what drivers tell about where a line comes from.
type Container struct {
	ID    string            `json:"id,omitempty"`
	Name  string            `json:"name,omitempty"`
	Image string            `json:"image,omitempty"`
	Tag   string            `json:"tag,omitempty"`   // expanded
	Attrs map[string]string `json:"attrs,omitempty"` // labels and variables that were asked for
}

// Syslog is where a syslog server listens and how it wants its lines.
type Syslog struct {
	Network  string `json:"network,omitempty"` // udp, tcp, unix (a stream), unixgram; empty looks for the machine's own
	Address  string `json:"address,omitempty"` // ADDRESS:PORT without a name to look up, or a path
	Facility int    `json:"facility"`
	Format   string `json:"format,omitempty"` // rfc3164, rfc5424, rfc5424micro; empty is what a local daemon reads
}

// Readable reports whether `logs` can read back what the driver takes.
func (o Options) Readable() bool { return o.file() != "" }

// File is the name of the current file in the container's folder, for other
// programs to read: that of json-file, as in Docker.
func (o Options) File() string {
	if o.Driver == "" || o.Driver == JSONFile {
		return o.file()
	}
	return ""
}

// file is the name of the current file in the container's folder; empty when
// there is none.
func (o Options) file() string {
	switch o.Driver {
	case "", JSONFile:
		return "log.json"
	case Local:
		return "log.local"
	case SyslogD, Journald:
		if !o.NoCopy {
			return "log.copy"
		}
	}
	return ""
}
