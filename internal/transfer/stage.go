package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Arg0 is the name that the stage is started under.
const Arg0 = "berth-transfer"

// Descriptors that the stage inherits besides its streams.
const (
	controlFD = 3 // a socket with requests and replies, JSON
	rootFD    = 4 // the root of a running container
)

// request is one question to the stage. Exactly one field is set; the first
// request is Begin. After Get and Layers a stream comes on standard output,
// which is closed behind it; after Put one is read from standard input.
type request struct {
	Begin  *begin         `json:"begin,omitempty"`
	Stat   *octets        `json:"stat,omitempty"`
	Get    *getRequest    `json:"get,omitempty"`
	Put    *putRequest    `json:"put,omitempty"`
	Layers *layersRequest `json:"layers,omitempty"`
}

// octets is a path or a name, which may have bytes that JSON cannot say: it
// travels in base64.
type octets string

// MarshalJSON implements json.Marshaler.
func (o octets) MarshalJSON() ([]byte, error) { return json.Marshal([]byte(o)) }

// UnmarshalJSON implements json.Unmarshaler.
func (o *octets) UnmarshalJSON(text []byte) error {
	var b []byte
	err := json.Unmarshal(text, &b)
	*o = octets(b)
	return err
}

// begin says where the root is: inherited, or to be mounted, or that there is
// none.
type begin struct {
	Layout    *Layout  `json:"layout,omitempty"`
	Inherited bool     `json:"inherited,omitempty"`
	Volumes   []string `json:"volumes,omitempty"`
}

type getRequest struct {
	Path octets `json:"path"`
	Name octets `json:"name"`
}

type putRequest struct {
	Dir     octets        `json:"dir"`
	Options UnpackOptions `json:"options"`
}

type reply struct {
	Failure  *Failure  `json:"failure,omitempty"`
	Stat     *Stat     `json:"stat,omitempty"`
	Name     octets    `json:"name,omitempty"`   // of Stat
	Target   octets    `json:"target,omitempty"` // of Stat
	Bytes    int64     `json:"bytes,omitempty"`
	Unpacked *Unpacked `json:"unpacked,omitempty"`
}

// Failure is an error that has come from another process. It is what its kind
// says for [errors.Is].
type Failure struct {
	Text string `json:"text"`
	Kind string `json:"kind,omitempty"`
}

func (f *Failure) Error() string { return f.Text }

func (f *Failure) Unwrap() error {
	for _, k := range kinds() {
		if f.Kind == k.Error() {
			return k
		}
	}
	return nil
}

func kinds() []error {
	return []error{ErrNotFound, ErrNotFolder, ErrReadOnlyRoot, ErrReadOnlyPart, fs.ErrPermission}
}

func failureOf(err error) *Failure {
	if err == nil {
		return nil
	}
	f := &Failure{Text: err.Error()}
	for _, k := range kinds() {
		if errors.Is(err, k) {
			f.Kind = k.Error()
		}
	}
	return f
}

// Main is the stage: a process in namespaces of its own, which ends with its
// caller. It returns the exit code.
func Main() int {
	unix.CloseOnExec(controlFD)
	control := os.NewFile(controlFD, "control")
	in, out := json.NewDecoder(control), json.NewEncoder(control)
	var root *Root
	for {
		var q request
		if err := in.Decode(&q); err != nil {
			return 0 // our caller is done, or gone
		}
		if q.Begin == nil && q.Layers == nil && root == nil {
			return 1
		}
		var a reply
		var err error
		switch {
		case q.Begin != nil:
			root, err = q.Begin.open()
		case q.Stat != nil:
			var st Stat
			st, err = root.Stat(string(*q.Stat))
			a.Stat, a.Name, a.Target = &st, octets(st.Name), octets(st.Target)
		case q.Get != nil:
			a.Bytes, err = root.Pack(context.Background(), os.Stdout, string(q.Get.Path), string(q.Get.Name))
			os.Stdout.Close()
		case q.Layers != nil:
			err = q.Layers.write(context.Background(), os.Stdout)
			os.Stdout.Close()
		case q.Put != nil:
			var u Unpacked
			u, err = root.Unpack(context.Background(), os.Stdin, string(q.Put.Dir), q.Put.Options)
			a.Unpacked = &u
		}
		a.Failure = failureOf(err)
		if err := out.Encode(&a); err != nil {
			return 1
		}
	}
}

func (b *begin) open() (*Root, error) {
	if b.Layout != nil {
		return b.Layout.mount()
	}
	if !b.Inherited {
		return nil, nil
	}
	unix.CloseOnExec(rootFD)
	return NewRoot(rootFD, b.Volumes), nil
}
