package spec

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ParseSignal reads TERM, SIGTERM, 15 or RTMIN+3.
func ParseSignal(text string) (int, error) {
	bad := fmt.Errorf("invalid signal: %s", text)
	if n, err := strconv.Atoi(text); err == nil {
		if n < 1 || n > 64 {
			return 0, bad
		}
		return n, nil
	}
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	for _, rt := range []struct {
		word string
		base int
	}{{"RTMIN", 34}, {"RTMAX", 64}} {
		if off, ok := strings.CutPrefix(name, rt.word); ok {
			n := 0
			if off != "" {
				var err error
				if n, err = strconv.Atoi(off); err != nil {
					return 0, bad
				}
			}
			if n += rt.base; n < 34 || n > 64 {
				return 0, bad
			}
			return n, nil
		}
	}
	if s := unix.SignalNum("SIG" + name); s != 0 {
		return int(s), nil
	}
	return 0, bad
}
