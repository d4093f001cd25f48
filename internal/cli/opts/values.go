package opts

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/docker/go-units"
)

// list is an option that may be given many times.
type list struct {
	values []string
	check  func(string) (string, error) // rewrites or refuses one value; nil accepts all
	kind   string                       // the word in help; empty is "list"
}

func (l *list) Set(s string) error {
	if l.check != nil {
		var err error
		if s, err = l.check(s); err != nil {
			return err
		}
	}
	l.values = append(l.values, s)
	return nil
}

func (l *list) String() string { return strings.Join(l.values, ",") }

func (l *list) Type() string {
	if l.kind == "" {
		return "list"
	}
	return l.kind
}

// bytesValue is a size such as 512m or 16g.
type bytesValue struct {
	n         int64
	unlimited bool // -1 is allowed and means no limit
}

func (b *bytesValue) Set(s string) error {
	if b.unlimited && s == "-1" {
		b.n = -1
		return nil
	}
	n, err := units.RAMInBytes(s)
	if err == nil && n < 0 {
		err = fmt.Errorf("invalid size: '%s': too large", s)
	}
	b.n = n
	return err
}

func (b *bytesValue) String() string { return "" }
func (b *bytesValue) Type() string   { return "bytes" }

// cpusValue is a number of processors in units of 10^-9.
type cpusValue int64

func (c *cpusValue) Set(s string) error {
	// An exponent could ask for a number with a billion digits.
	ok := len(s) < 32 && !strings.ContainsAny(s, "eEpP")
	r := new(big.Rat)
	if ok {
		r, ok = r.SetString(s)
	}
	if !ok {
		return fmt.Errorf("failed to parse %s as a rational number", s)
	}
	nano := r.Mul(r, big.NewRat(1e9, 1))
	if !nano.IsInt() {
		return errors.New("value is too precise")
	}
	if !nano.Num().IsInt64() {
		return errors.New("value is too large")
	}
	*c = cpusValue(nano.Num().Int64())
	return nil
}

func (c *cpusValue) String() string { return "" }
func (c *cpusValue) Type() string   { return "decimal" }

// ulimitsValue collects limits such as nofile=1024:2048; the last one given
// for a name wins.
type ulimitsValue struct{ limits []*units.Ulimit }

func (u *ulimitsValue) Set(s string) error {
	l, err := units.ParseUlimit(s)
	if err != nil {
		return err
	}
	u.limits = slices.DeleteFunc(u.limits, func(o *units.Ulimit) bool { return o.Name == l.Name })
	u.limits = append(u.limits, l)
	slices.SortFunc(u.limits, func(a, b *units.Ulimit) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

func (u *ulimitsValue) String() string { return "" }
func (u *ulimitsValue) Type() string   { return "ulimit" }

// checkStream accepts the names of the three standard streams.
func checkStream(s string) (string, error) {
	s = strings.ToLower(s)
	if s != "stdin" && s != "stdout" && s != "stderr" {
		return "", errors.New("valid streams are STDIN, STDOUT and STDERR")
	}
	return s, nil
}

// checkLabel accepts key and key=value.
func checkLabel(s string) (string, error) {
	if key, _, _ := strings.Cut(s, "="); key == "" {
		return "", fmt.Errorf("invalid label '%s': empty name", s)
	}
	return s, nil
}

// checkSysctl accepts the kernel parameters that belong to a namespace, which
// are the only ones a container may set for itself.
func checkSysctl(s string) (string, error) {
	key, _, ok := strings.Cut(s, "=")
	if ok {
		switch key {
		case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
			"kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced":
			return s, nil
		}
		if strings.HasPrefix(key, "net.") || strings.HasPrefix(key, "fs.mqueue.") {
			return s, nil
		}
	}
	return "", fmt.Errorf("sysctl '%s' is not allowed", s)
}

// toMap splits key=value pairs; a pair without = has an empty value.
func toMap(pairs []string) map[string]string {
	m := make(map[string]string, len(pairs))
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		m[k] = v
	}
	return m
}
