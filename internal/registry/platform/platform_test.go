package platform

import (
	"runtime"
	"testing"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"":               Host().String(),
		"linux":          "linux/" + runtime.GOARCH,
		"linux/amd64":    "linux/amd64",
		"linux/x86_64":   "linux/amd64",
		"amd64":          runtime.GOOS + "/amd64",
		"arm64":          runtime.GOOS + "/arm64",
		"linux/aarch64":  "linux/arm64",
		"linux/arm64/v8": "linux/arm64",
		"linux/arm64/8":  "linux/arm64",
		"linux/arm":      "linux/arm/v7",
		"linux/arm/v6":   "linux/arm/v6",
		"linux/armhf":    "linux/arm/v7",
		"Linux/AMD64":    "linux/amd64",
		"windows/amd64":  "windows/amd64",
		"linux/amd64/v3": "linux/amd64/v3",
		"linux/riscv64":  "linux/riscv64",
	} {
		p, err := Parse(in)
		if err != nil || p.String() != want {
			t.Errorf("Parse(%q) = %v, %v; want %s", in, p, err, want)
		}
	}
	for _, in := range []string{"/", "linux/", "linux//v8", "a/b/c/d", "linux amd64", "linux/amd64:x"} {
		if p, err := Parse(in); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", in, p)
		}
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		want, have string
		fits       bool
	}{
		{"linux/amd64", "linux/amd64", true},
		{"linux/amd64", "linux/amd64/v1", true},
		{"linux/amd64", "linux/amd64/v3", false},
		{"linux/amd64/v3", "linux/amd64", true},
		{"linux/amd64/v3", "linux/amd64/v2", true},
		{"linux/arm64", "linux/arm64/v8", true},
		{"linux/arm64/v9", "linux/arm64", true},
		{"linux/arm64", "linux/arm64/v9", false},
		{"linux/arm/v7", "linux/arm/v6", true},
		{"linux/arm/v6", "linux/arm/v7", false},
		{"linux/arm64", "linux/arm/v7", false},
		{"linux/amd64", "windows/amd64", false},
		{"linux/amd64", "unknown/unknown", false},
	} {
		w, _ := Parse(c.want)
		h, _ := Parse(c.have)
		if got := w.Fit(h) > 0; got != c.fits {
			t.Errorf("%s served by %s: %v, want %v", c.want, c.have, got, c.fits)
		}
	}
	w, _ := Parse("linux/arm/v7")
	v7, _ := Parse("linux/arm/v7")
	v6, _ := Parse("linux/arm/v6")
	if w.Fit(v7) <= w.Fit(v6) {
		t.Error("an exact variant must beat an older one")
	}
}
