package images

import (
	"os"

	"berth/internal/store"
)

// PullOptions asks for an image.
type PullOptions struct {
	Ref      string
	Platform string
	AllTags  bool
	// KeepBlobs keeps the packed layers too, so that what is pushed or
	// saved later is byte for byte what was pulled.
	KeepBlobs bool
	Progress  Progress `json:"-"`

	// Kind is that of the layers to make. Where it is the ranged one,
	// Namespace is the user namespace to work in.
	Kind      store.Kind
	Namespace *os.File `json:"-"`
}

// PullResult says what a pull brought.
type PullResult struct {
	Ref      string // canonical familiar name, docker.io/library/busybox:latest
	Digest   string // of the manifest (list) the tag names
	ImageID  string // of the image configuration
	UpToDate bool   // nothing new came
}

// Progress hears what a pull does. Methods are called from many goroutines.
type Progress interface {
	// Message is a line about the whole pull, such as "latest: Pulling from
	// library/busybox".
	Message(text string)
	// Layer reports that the layer (12 hexadecimal digits) has reached a
	// status ("Pulling fs layer", "Waiting", "Downloading", "Download
	// complete", "Pull complete", "Already exists"), with bytes so far and
	// in all where they are known, else 0.
	Layer(id, status string, current, total int64)
}
