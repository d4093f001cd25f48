package opts

import (
	"fmt"
	"slices"

	"github.com/spf13/pflag"
)

// refusal is an option of Docker whose feature berth does not have. It is
// parsed, so that the command line is understood, and refused with its name.
type refusal struct {
	name, short, kind, usage string
	harmless                 []string // values that ask for nothing
}

func refusals() []refusal {
	zero := []string{"0"}
	return []refusal{
		{"gpus", "", "gpu-request", "GPU devices to add to the container ('all' to pass all GPUs)", nil},
		{"isolation", "", "string", "Container isolation technology", []string{"", "default"}},
		{"kernel-memory", "", "bytes", "Kernel memory limit", zero},
		{"storage-opt", "", "list", "Storage driver options for the container", nil},
		{"use-api-socket", "", "bool", "Bind mount Docker API socket and required auth", []string{"false"}},
		{"volume-driver", "", "string", "Optional volume driver for the container", []string{"", "local"}},
		{"cpu-count", "", "int", "CPU count (Windows only)", zero},
		{"cpu-percent", "", "int", "CPU percent (Windows only)", zero},
		{"io-maxbandwidth", "", "bytes", "Maximum IO bandwidth limit for the system drive (Windows only)", zero},
		{"io-maxiops", "", "uint", "Maximum IOps limit for the system drive (Windows only)", zero},
	}
}

// refusedValue remembers the first value that asks for something.
type refusedValue struct {
	refusal
	asked bool
}

func (r *refusedValue) Set(s string) error {
	if !slices.Contains(r.harmless, s) {
		r.asked = true
	}
	return nil
}

func (r *refusedValue) String() string   { return "" }
func (r *refusedValue) Type() string     { return r.kind }
func (r *refusedValue) IsBoolFlag() bool { return r.kind == "bool" }

func (c *Container) refusedFlags() {
	for _, r := range refusals() {
		v := &refusedValue{refusal: r}
		flag := c.flags.VarPF(v, r.name, r.short, r.usage)
		if r.kind == "bool" {
			flag.NoOptDefVal = "true"
		}
	}
	c.flags.Bool("disable-content-trust", true, "Skip image verification")
	hide(c.flags, "disable-content-trust")
}

// checkRefused answers with an error for the first option that cannot be
// honoured.
func (c *Container) checkRefused() error {
	var err error
	c.flags.Visit(func(f *pflag.Flag) {
		if v, ok := f.Value.(*refusedValue); ok && v.asked && err == nil {
			err = NotSupported("--" + v.name)
		}
	})
	return err
}

// NotSupported is the error for a part of Docker that berth lacks.
func NotSupported(what string) error {
	return fmt.Errorf("%s is not supported yet by this berth", what)
}
