package networks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/moby/moby/api/types/events"
	api "github.com/moby/moby/api/types/network"

	"berth/internal/errdef"
	"berth/internal/network"
	"berth/internal/network/wire"
)

// Remove removes a network that no running container is in. A container that is
// stopped may name it still; it does not start then.
func (s *Set) Remove(ctx context.Context, text string) error {
	n, err := s.Find(text)
	if err != nil {
		return err
	}
	return s.remove(n)
}

func (s *Set) remove(n network.Network) error {
	if predefined(n.Name) {
		return refusal(errdef.ErrConflict, "%s is a pre-defined network and cannot be removed", n.Name)
	}
	tx, err := s.lock()
	if err != nil {
		return err
	}
	defer tx.Unlock()
	members, err := s.members()
	if err != nil {
		return fmt.Errorf("cannot tell whether the network %s is in use: %w", n.Name, err)
	}
	var users []string
	for _, m := range members {
		if e := m.in(n.ID); e != nil {
			users = append(users, fmt.Sprintf("name:%q id:%q", m.name, m.id[:12]))
		}
	}
	if len(users) > 0 {
		return refusal(errdef.ErrConflict, "error while removing network: network %s has active endpoints (%s)", n.Name, strings.Join(users, ", "))
	}
	// The bridge goes first: a record without one is made whole by the next
	// container, a bridge without a record by nobody.
	if err := s.drop(n); err != nil {
		return err
	}
	err = os.Remove(s.path(n.ID + ".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return noNetwork(n.Name)
	}
	if err == nil {
		s.note(events.ActionDestroy, n)
	}
	return err
}

// drop has the bridge of a network removed. Without a holder there is none.
func (s *Set) drop(n network.Network) error {
	_, err := s.ask(&wire.Request{Drop: &wire.Drop{NetworkID: n.ID, Interface: n.Interface}})
	return err
}

func (s *Set) ask(q *wire.Request) (*wire.Response, error) {
	if s.Ask == nil {
		return nil, nil
	}
	q.V = wireVersion
	return s.Ask(q)
}

// Prune removes the networks that somebody made and no running container is in,
// and names them. Filters: label, label!, until.
func (s *Set) Prune(ctx context.Context, filters map[string][]string) (api.PruneReport, error) {
	var rep api.PruneReport
	match, err := s.filter(filters, "label", "label!", "until")
	if err != nil {
		return rep, err
	}
	list, err := s.records()
	if err != nil {
		return rep, err
	}
	for _, n := range list {
		if err := ctx.Err(); err != nil {
			return rep, err
		}
		if predefined(n.Name) || !match(n) {
			continue
		}
		err := s.remove(n)
		if errors.Is(err, errdef.ErrConflict) || errors.Is(err, errdef.ErrNotFound) {
			continue // it is in use, or somebody was faster
		}
		if err != nil {
			return rep, err
		}
		rep.NetworksDeleted = append(rep.NetworksDeleted, n.Name)
	}
	s.event(events.ActionPrune, "", map[string]string{"reclaimed": "0"})
	return rep, nil
}
