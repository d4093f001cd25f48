package doctor

import (
	"strings"

	"berth/internal/userns"
)

// ranges says whether an account has more ids than its own. Without them an image
// runs all the same, its users all being the account; so it is no failure.
func (p *patient) ranges() []Finding {
	if !p.host.Rootless {
		return []Finding{fine("root has all ids of the machine")}
	}
	const means = "an image's users are all the account itself; programs that switch users, as gosu does, do not really"
	m, err := userns.Ranges(p.host)
	if err != nil {
		why, remedy, ok := strings.Cut(err.Error(), ": an administrator ")
		if ok {
			remedy = "an administrator " + remedy
		}
		return []Finding{warning("one id, because "+why, means, remedy)}
	}
	ns, err := userns.Open(m)
	if err != nil {
		return []Finding{warning("ids are granted, and a namespace with them cannot be made: "+err.Error(), means, "")}
	}
	ns.Close()
	return []Finding{fine("ids up to %d, by newuidmap and newgidmap", m.Max())}
}
