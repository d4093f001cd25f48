package wire

import (
	"encoding/json"
	"errors"
	"net/netip"
	"testing"

	"berth/internal/errdef"
	"berth/internal/network"
)

// TestErrorsOnTheirWay: what a client gets is what the holder meant.
func TestErrorsOnTheirWay(t *testing.T) {
	taken := &network.TakenError{Proto: "udp", At: netip.MustParseAddrPort("[::]:53"), Inside: 5353, Free: 54}
	for _, c := range []struct {
		err error
		is  error
	}{
		{&errdef.Error{Kind: errdef.ErrConflict, Text: "address in use"}, errdef.ErrConflict},
		{errors.New("out of descriptors"), nil},
		{taken, nil},
	} {
		b, err := json.Marshal(Refuse(c.err))
		if err != nil {
			t.Fatal(err)
		}
		var a Response
		if err := json.Unmarshal(b, &a); err != nil {
			t.Fatal(err)
		}
		got := a.Err()
		if got == nil || got.Error() != c.err.Error() || c.is != nil && !errors.Is(got, c.is) {
			t.Errorf("%v, not %v", got, c.err)
		}
		var again *network.TakenError
		if c.err == taken && (!errors.As(got, &again) || *again != *taken) {
			t.Errorf("%+v", again)
		}
	}
	if err := (&Response{}).Err(); err != nil {
		t.Error(err)
	}
}
