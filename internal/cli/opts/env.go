package opts

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Lookup answers with the value of a variable in the caller's environment.
type Lookup func(name string) (value string, set bool)

// Variable returns the check of an option such as -e: K=V stays as it is, and
// K alone takes the caller's value. K alone that the caller does not have
// stays too; to the engine it means that the container shall not have it,
// whatever the image says.
func Variable(lookup Lookup) func(string) (string, error) {
	return func(s string) (string, error) {
		name, _, hasValue := strings.Cut(s, "=")
		if name == "" {
			return "", errors.New("invalid environment variable: " + s)
		}
		if !hasValue {
			if v, ok := lookup(name); ok {
				return name + "=" + v, nil
			}
		}
		return s, nil
	}
}

// Environment returns the variables of the files, then those given one by one.
func Environment(files, given []string, lookup Lookup) ([]string, error) {
	var env []string
	for _, f := range files {
		lines, err := readPairs(f, lookup)
		if err != nil {
			return nil, wrapFile("env", f, err)
		}
		env = append(env, lines...)
	}
	return append(env, lastOfEach(given)...), nil
}

// lastOfEach keeps one value for a name: the last given, where the first stood.
func lastOfEach(given []string) []string {
	at := map[string]int{}
	var out []string
	for _, pair := range given {
		name, _, _ := strings.Cut(pair, "=")
		if i, ok := at[name]; ok {
			out[i] = pair
			continue
		}
		at[name] = len(out)
		out = append(out, pair)
	}
	return out
}

// labels returns the labels of the files, then those given one by one.
func labels(files, given []string) (map[string]string, error) {
	var all []string
	for _, f := range files {
		lines, err := readPairs(f, nil)
		if err != nil {
			return nil, wrapFile("label", f, err)
		}
		all = append(all, lines...)
	}
	return toMap(append(all, given...)), nil
}

// wrapFile names the file unless the error does so already.
func wrapFile(what, path string, err error) error {
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		return err
	}
	return fmt.Errorf("invalid %s file (%s): %w", what, path, err)
}

// readPairs reads a file with one pair a line, comments after #, and values as
// they are: no quotes, no expansion. A name without a value takes the caller's
// where lookup is given, and is left out where the caller has none.
func readPairs(path string, lookup Lookup) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parsePairs(data, lookup)
}

func parsePairs(data []byte, lookup Lookup) ([]string, error) {
	var pairs []string
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if !utf8.Valid(lines.Bytes()) {
			return nil, fmt.Errorf("invalid utf8 bytes at line %d: %q", n, lines.Bytes())
		}
		line := strings.TrimLeftFunc(lines.Text(), unicode.IsSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		pair, keep, err := parsePair(line, lookup)
		if err != nil {
			return nil, err
		}
		if keep {
			pairs = append(pairs, pair)
		}
	}
	return pairs, lines.Err()
}

func parsePair(line string, lookup Lookup) (pair string, keep bool, err error) {
	name, _, hasValue := strings.Cut(line, "=")
	if name == "" {
		return "", false, fmt.Errorf("no variable name on line '%s'", line)
	}
	if strings.ContainsFunc(name, unicode.IsSpace) {
		return "", false, fmt.Errorf("variable '%s' contains whitespaces", name)
	}
	if hasValue || lookup == nil {
		return line, true, nil
	}
	v, ok := lookup(name)
	return name + "=" + v, ok, nil
}
