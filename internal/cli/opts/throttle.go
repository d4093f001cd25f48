package opts

import (
	"fmt"
	"strconv"
	"strings"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/blkiodev"
)

// throttles are the values of an option such as --device-read-bps
// /dev/sda:1mb.
type throttles struct {
	bytes bool // the rate is one of bytes, with a unit
	devs  []*blkiodev.ThrottleDevice
}

func (t *throttles) Set(s string) error {
	path, text, err := deviceValue(s)
	if err != nil {
		return err
	}
	var rate uint64
	if t.bytes {
		n, perr := units.RAMInBytes(text)
		if perr != nil || n < 0 {
			return fmt.Errorf("invalid rate for device: %s. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb", s)
		}
		rate = uint64(n)
	} else if rate, err = strconv.ParseUint(text, 10, 64); err != nil {
		return fmt.Errorf("invalid rate for device: %s. The correct format is <device-path>:<number>. Number must be a positive integer", s)
	}
	t.devs = append(t.devs, &blkiodev.ThrottleDevice{Path: path, Rate: rate})
	return nil
}

func (t *throttles) String() string { return "" }
func (t *throttles) Type() string   { return "list" }

// weights are the values of --blkio-weight-device.
type weights []*blkiodev.WeightDevice

func (w *weights) Set(s string) error {
	path, text, err := deviceValue(s)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n > 0 && (n < 10 || n > 1000) {
		return fmt.Errorf("invalid weight for device: %s", s)
	}
	*w = append(*w, &blkiodev.WeightDevice{Path: path, Weight: uint16(n)})
	return nil
}

func (w *weights) String() string { return "" }
func (w *weights) Type() string   { return "list" }

// deviceValue splits PATH:VALUE.
func deviceValue(s string) (path, value string, err error) {
	path, value, ok := strings.Cut(s, ":")
	if !ok || path == "" {
		return "", "", fmt.Errorf("bad format: %s", s)
	}
	if !strings.HasPrefix(path, "/dev/") {
		return "", "", fmt.Errorf("bad format for device path: %s", s)
	}
	return path, value, nil
}
