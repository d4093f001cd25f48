package host

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// nameServiceLimit is how long a directory server may take to say who somebody
// is before a number has to do.
const nameServiceLimit = 2 * time.Second

// AccountName returns the name of an account: from /etc/passwd, else from the
// machine's name service (LDAP and the like), else its number.
func AccountName(uid int) string {
	if a := lookupAccount("/etc/passwd", uid); a.name != "" {
		return a.name
	}
	id := strconv.Itoa(uid)
	if line := getent(id); line != "" {
		name, _, _ := strings.Cut(line, ":")
		return name
	}
	return id
}

// HasAccount reports whether there is an account of that name.
func HasAccount(name string) bool {
	if b, err := os.ReadFile("/etc/passwd"); err == nil && strings.Contains("\n"+string(b), "\n"+name+":") {
		return true
	}
	line := getent(name)
	return strings.HasPrefix(line, name+":")
}

// getent asks the name service, which only C libraries know how to do. A name
// that could be taken for an option or a number of somebody is not asked for.
func getent(key string) string {
	if key == "" || strings.HasPrefix(key, "-") {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), nameServiceLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "getent", "passwd", key).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}
