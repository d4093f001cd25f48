package host

import "testing"

func TestAccounts(t *testing.T) {
	if got := AccountName(0); got != "root" {
		t.Errorf("0: %q", got)
	}
	if got := AccountName(54399); got != "54399" {
		t.Errorf("nobody's number: %q", got)
	}
	for name, want := range map[string]bool{"root": true, "nobody-of-that-name": false, "": false, "-h": false, "0": false} {
		if got := HasAccount(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
