package netcmd

import (
	"fmt"
	"testing"
)

func TestConsolidate(t *testing.T) {
	for _, c := range []struct {
		subnets, ranges, gateways []string
		aux                       map[string]string
		want                      string
	}{
		{nil, nil, nil, nil, "[]"},
		{[]string{"10.1.0.0/16"}, []string{"10.1.5.0/24"}, []string{"10.1.5.254"}, map[string]string{"host": "10.1.5.1"},
			"[{10.1.0.0/16 10.1.5.254 10.1.5.0/24 map[host:10.1.5.1] false}]"},
		{[]string{"10.1.0.0/16", "fd00::/64"}, nil, []string{"fd00::9", "10.1.0.9"}, nil,
			"[{10.1.0.0/16 10.1.0.9 invalid Prefix map[] false} {fd00::/64 fd00::9 invalid Prefix map[] false}]"},
		{nil, nil, []string{"10.1.0.1"}, nil, "every ip-range or gateway must have a corresponding subnet"},
		{nil, []string{"10.1.0.0/24"}, nil, nil, "every ip-range or gateway must have a corresponding subnet"},
		{[]string{"foo"}, nil, nil, nil, "invalid subnet foo: invalid CIDR block notation"},
		{[]string{"10.1.0.0/16", "10.1.2.0/24"}, nil, nil, nil, "multiple overlapping subnet configuration is not supported"},
		{[]string{"10.1.0.0/16"}, []string{"10.2.0.0/24"}, nil, nil, "no matching subnet for range 10.2.0.0/24"},
		{[]string{"10.1.0.0/16", "10.3.0.0/16"}, []string{"10.1.1.0/24", "10.1.2.0/24"}, nil, nil, "cannot configure multiple ranges (10.1.2.0/24, 10.1.1.0/24) on the same subnet (10.1.0.0/16)"},
		{[]string{"10.1.0.0/16"}, []string{"x"}, nil, nil, "invalid ip-range x: invalid CIDR block notation"},
		{[]string{"10.1.0.0/16"}, nil, []string{"10.2.0.1"}, nil, "no matching subnet for gateway 10.2.0.1"},
		{[]string{"10.1.0.0/16"}, nil, []string{"x"}, nil, "invalid gateway x: invalid address"},
		{[]string{"10.1.0.0/16", "10.3.0.0/16"}, nil, []string{"10.1.0.1", "10.1.0.2"}, nil, "cannot configure multiple gateways (10.1.0.2, 10.1.0.1) for the same subnet (10.1.0.0/16)"},
		{[]string{"10.1.0.0/16"}, nil, nil, map[string]string{"a": "10.2.0.1"}, "no matching subnet for aux-address 10.2.0.1"},
		{[]string{"10.1.0.0/16"}, nil, nil, map[string]string{"a": "x"}, "invalid auxiliary address a: invalid address x"},
	} {
		got, err := consolidate(c.subnets, c.ranges, c.gateways, c.aux)
		text := fmt.Sprint(got)
		if err != nil {
			text = err.Error()
		}
		if text != c.want {
			t.Errorf("%v: %s\nwant %s", c, text, c.want)
		}
	}
}
