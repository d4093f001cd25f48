package ref

import "strings"

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isAlnum(c byte) bool { return isDigit(c) || isLower(c|0x20) }

// isHex reports whether s consists of lower-case hexadecimal digits.
func isHex(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return s != ""
}

// validDomain checks host[:port], where the host is a name, an IPv4 address
// or an IPv6 address in brackets.
func validDomain(s string) bool {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		if port == "" {
			return false
		}
	}
	for i := range len(port) {
		if !isDigit(port[i]) {
			return false
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		return ok && isHex(strings.ToLower(strings.ReplaceAll(inner, ":", "0")))
	}
	for label := range strings.SplitSeq(host, ".") {
		if !validLabel(label) {
			return false
		}
	}
	return true
}

// validLabel checks one part of a host name: letters, digits, and hyphens
// that do not stand at an end.
func validLabel(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if !isAlnum(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

// validPath checks a repository: components between slashes.
func validPath(s string) bool {
	for c := range strings.SplitSeq(s, "/") {
		if !validComponent(c) {
			return false
		}
	}
	return true
}

// validComponent checks a run of lower-case letters and digits, joined by one
// dot, one or two underscores, or any number of hyphens.
func validComponent(s string) bool {
	for i := 0; ; {
		start := i
		for i < len(s) && (isDigit(s[i]) || isLower(s[i])) {
			i++
		}
		if i == start {
			return false
		}
		if i == len(s) {
			return true
		}
		n := separator(s[i:])
		if n == 0 {
			return false
		}
		i += n
	}
}

// separator returns the length of the separator that s starts with.
func separator(s string) int {
	switch {
	case s[0] == '.':
		return 1
	case strings.HasPrefix(s, "__"):
		return 2
	case s[0] == '_':
		return 1
	}
	n := 0
	for n < len(s) && s[n] == '-' {
		n++
	}
	return n
}

func validTag(s string) bool {
	if s == "" || len(s) > maxTag || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}
