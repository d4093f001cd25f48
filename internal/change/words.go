package change

import (
	"errors"
	"fmt"
	"strings"
)

// words splits a line at its spaces, takes quotes away and puts in variables,
// as a Dockerfile does.
func (a *applier) words(s string) ([]string, error) {
	var out []string
	for s = strings.TrimLeft(s, " \t"); s != ""; s = strings.TrimLeft(s, " \t") {
		end := wordEnd(s)
		w, err := a.expand(s[:end])
		if err != nil {
			return nil, err
		}
		out = append(out, w)
		s = s[end:]
	}
	return out, nil
}

// wordEnd returns the length of the word that s begins with.
func wordEnd(s string) int {
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quote != '\'':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == ' ' || c == '\t':
			return i
		}
	}
	return len(s)
}

// expand takes the quotes of a word away and puts variables in. Spaces outside
// of quotes are kept; the old form "ENV name some text" has them.
func (a *applier) expand(s string) (string, error) {
	var b strings.Builder
	var quote byte
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(s):
			// Inside double quotes only some characters need it.
			if quote == '"' && s[i+1] != '"' && s[i+1] != '$' && s[i+1] != '\\' {
				b.WriteByte(c)
			}
			b.WriteByte(s[i+1])
			i += 2
		case c == quote:
			quote = 0
			i++
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
			i++
		case c == '$' && quote != '\'':
			value, n, err := a.variable(s[i:])
			if err != nil {
				return "", err
			}
			b.WriteString(value)
			i += n
		default:
			b.WriteByte(c)
			i++
		}
	}
	if quote != 0 {
		return "", errors.New("a quote is not closed")
	}
	return b.String(), nil
}

// variable reads $NAME, ${NAME}, ${NAME:-default} or ${NAME:+other} at the
// beginning of s. It returns its value and its length.
func (a *applier) variable(s string) (value string, length int, err error) {
	if strings.HasPrefix(s, "${") {
		end := strings.IndexByte(s, '}')
		if end < 0 {
			return "", 0, errors.New("a ${ is not closed")
		}
		name, word, modified := strings.Cut(s[2:end], ":")
		if nameLength(name) != len(name) || name == "" {
			return "", 0, fmt.Errorf("%s is not a variable", s[:end+1])
		}
		value = a.lookup(name)
		switch {
		case !modified:
		case strings.HasPrefix(word, "-"):
			if value == "" {
				value = word[1:]
			}
		case strings.HasPrefix(word, "+"):
			if value != "" {
				value = word[1:]
			}
		default:
			return "", 0, fmt.Errorf("unsupported modifier in %s", s[:end+1])
		}
		return value, end + 1, nil
	}
	n := nameLength(s[1:])
	if n == 0 {
		return "$", 1, nil
	}
	return a.lookup(s[1 : 1+n]), 1 + n, nil
}

// nameLength returns how much of s is the name of a variable.
func nameLength(s string) int {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(s)
}

// lookup returns a variable of the image's environment.
func (a *applier) lookup(name string) string {
	for _, e := range a.c.Env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}
