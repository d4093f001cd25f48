package site

import (
	"fmt"
	"strings"
)

// Placeholders of a name pattern.
const (
	userWord = "{user}"
	nameWord = "{name}"
)

// Names is a pattern as it is for one account. The zero Names lets every name
// pass as it is.
type Names struct {
	pattern, user string
	account       func(name string) bool
}

// NewNames returns the pattern for an account. Account tells whether there is
// an account of a name; nil: there are no others.
func NewNames(pattern, user string, account func(name string) bool) Names {
	if account == nil {
		account = func(string) bool { return false }
	}
	return Names{pattern: pattern, user: plain(user), account: account}
}

// plain is the name of an account with nothing but what names of containers
// may have: directories know such as "LAB\ann" and "ann@lab".
func plain(user string) string {
	b := []byte(user)
	for i, c := range b {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("_.-", rune(c))) {
			b[i] = '_'
		}
	}
	if len(b) > 0 && b[0] == '_' {
		b[0] = 'u'
	}
	return string(b)
}

// Complete returns the name that a container is called by when a person says
// name: a short one is put into the pattern, one that fits stays. A name that
// is another account's by the pattern is refused.
func (n Names) Complete(name string) (string, error) {
	if n.pattern == "" || name == "" || fits(n.pattern, n.user, name) {
		return name, nil
	}
	if other := n.other(name); other != "" {
		return "", fmt.Errorf("the name %q would be %s's: names on this machine are %s, so use %q, or NAME alone", name, other, n.pattern, n.full("NAME"))
	}
	return n.full(name), nil
}

func (n Names) full(name string) string {
	return strings.NewReplacer(userWord, n.user, nameWord, name).Replace(n.pattern)
}

// other returns the account whose name stands in a container's name where the
// pattern has it.
func (n Names) other(name string) string {
	if !strings.Contains(n.pattern, userWord) {
		return ""
	}
	for i := range name {
		for j := i + 1; j <= len(name); j++ {
			if user := name[i:j]; fits(n.pattern, user, name) && n.account(user) {
				return user
			}
		}
	}
	return ""
}

// fits reports whether a name is the pattern with an account and something in it.
func fits(pattern, user, name string) bool {
	before, after, _ := strings.Cut(strings.ReplaceAll(pattern, userWord, user), nameWord)
	return len(name) > len(before)+len(after) && strings.HasPrefix(name, before) && strings.HasSuffix(name, after)
}
