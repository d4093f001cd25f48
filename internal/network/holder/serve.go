package holder

import (
	"fmt"
	"os"

	"berth/internal/network/wire"
)

// serve answers one client until it is gone, and takes back what it had.
func (h *Holder) serve(c *wire.Conn) {
	defer h.leave()
	defer c.Close()
	var lease *member
	for {
		var q wire.Request
		files, err := c.Receive(&q)
		if err != nil {
			break
		}
		a, give := h.answer(c, &lease, &q, files)
		for _, f := range files {
			f.Close()
		}
		a.V = 1
		a.Files = len(give)
		if c.Send(a, give...) != nil {
			break
		}
	}
	if lease != nil {
		h.release(lease)
	}
}

// answer carries out one request. What it keeps of files it duplicates.
func (h *Holder) answer(c *wire.Conn, lease **member, q *wire.Request, files []*os.File) (*wire.Response, []*os.File) {
	var a wire.Response
	var give []*os.File
	var err error
	switch {
	case q.Join != nil && *lease == nil:
		var m *member
		if m, err = h.join(c, q.Join); err == nil {
			*lease, a.Settings, give = m, &m.settings, h.spaces()
		}
	case q.Adopt != nil && *lease == nil && len(files) <= 1:
		var m *member
		if m, err = h.adopt(c, q.Adopt, files); err == nil {
			*lease, give = m, h.spaces()
		}
	case q.Attach != nil && *lease != nil && len(files) == 1:
		err = h.attach(*lease, files[0])
	case q.Connect != nil:
		err = h.addNetwork(q.Connect)
	case q.Disconnect != nil:
		err = h.leaveNetwork(q.Disconnect)
	case q.Rename != nil:
		err = h.rename(q.Rename)
	case q.Drop != nil:
		err = h.drop(q.Drop)
	default:
		err = fmt.Errorf("the holder of networks was started by another version of berth: it ends with the last container that uses a network")
	}
	if err != nil {
		return wire.Refuse(err), nil
	}
	if q.Join != nil {
		a.Warnings = h.warnings()
	}
	return &a, give
}

// spaces are the namespaces that a container's are made in, and that its shim
// keeps alive if we die.
func (h *Holder) spaces() []*os.File {
	if !h.account {
		return nil
	}
	return []*os.File{h.user, h.ns}
}

// warnings are what was changed on the host for the sake of networks, or stands in
// their way. Who starts a container hears of it.
func (h *Holder) warnings() []string {
	h.making.Lock()
	defer h.making.Unlock()
	if h.table == nil {
		return nil
	}
	return h.table.Warnings()
}
