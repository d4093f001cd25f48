package registry

import "strings"

// challenge is one way to authenticate that a server offers in the header
// WWW-Authenticate.
type challenge struct {
	scheme string // lower case: basic, bearer
	params map[string]string
}

// parseChallenges reads the values of WWW-Authenticate: comma-separated
// challenges, each a scheme with comma-separated parameters. A scheme is told
// from a parameter by the "=" that follows a parameter's name. What cannot be
// understood ends the reading of that value.
func parseChallenges(values []string) []challenge {
	var out []challenge
	for _, v := range values {
		s := scanner{rest: v}
		for {
			s.skip(" \t,")
			word := s.token()
			if word == "" {
				break
			}
			s.skip(" \t")
			if !s.take('=') {
				out = append(out, challenge{scheme: strings.ToLower(word), params: map[string]string{}})
				continue
			}
			s.skip(" \t")
			value, ok := s.value()
			if !ok || len(out) == 0 {
				break
			}
			out[len(out)-1].params[strings.ToLower(word)] = value
		}
	}
	return out
}

type scanner struct{ rest string }

func (s *scanner) skip(chars string) { s.rest = strings.TrimLeft(s.rest, chars) }

func (s *scanner) take(c byte) bool {
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

func (s *scanner) token() string {
	i := strings.IndexAny(s.rest, " \t,=\"")
	if i < 0 {
		i = len(s.rest)
	}
	t := s.rest[:i]
	s.rest = s.rest[i:]
	return t
}

// value reads a token or a quoted string.
func (s *scanner) value() (string, bool) {
	if !s.take('"') {
		return s.token(), true
	}
	var b strings.Builder
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			s.rest = s.rest[i+1:]
			return b.String(), true
		case c == '\\' && i+1 < len(s.rest):
			i++
			b.WriteByte(s.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	s.rest = ""
	return "", false
}
