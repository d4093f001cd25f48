package cli

import "testing"

func TestSplitPlace(t *testing.T) {
	for arg, want := range map[string][2]string{
		"box:/x": {"box", "/x"}, "box:": {"box", ""}, "/a:b": {"", "/a:b"}, "./a:b": {"", "./a:b"}, "../a:b": {"", "../a:b"},
		"-": {"", "-"}, "a/b": {"", "a/b"}, "box:rel:x": {"box", "rel:x"}, ".": {"", "."}, ":/x": {"", "/x"},
	} {
		container, path := splitPlace(arg)
		if container != want[0] || path != want[1] {
			t.Errorf("%q: %q and %q", arg, container, path)
		}
	}
}
