package change

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestApply(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{`CMD ["a", "b c"]`, `{"Cmd":["a","b c"]}`},
		{`cmd echo hi | cat`, `{"Cmd":["/bin/sh","-c","echo hi | cat"]}`},
		{`CMD []`, `{}`},
		{`CMD [not json]`, `{"Cmd":["/bin/sh","-c","[not json]"]}`},
		{`ENTRYPOINT ["/e"]`, `{"Entrypoint":["/e"]}`},
		{"CMD [\"c\"]\nENTRYPOINT [\"/e\"]", `{"Entrypoint":["/e"],"Cmd":["c"]}`},
		{`ENV A=1 B="two words" C='$A' D=$A-${A} E=a\ b`, `{"Env":["A=1","B=two words","C=$A","D=-","E=a b"]}`},
		{"ENV A=1\nENV A=2 B=${A}3\nENV C some \"text\" $B", `{"Env":["A=2","B=13","C=some text 13"]}`},
		{"ENV A=x\nENV B=${A:-y} C=${Q:-y} D=${A:+z} E=${Q:+z} F=$ G=\\$A", `{"Env":["A=x","B=x","C=y","D=z","E=","F=$","G=$A"]}`},
		{`EXPOSE 80:81 127.0.0.1:5:6/UDP $none`, `{"ExposedPorts":{"6/udp":{},"81/tcp":{}}}`},
		{`EXPOSE 80 53/udp 8000-8002`, `{"ExposedPorts":{"53/udp":{},"80/tcp":{},"8000/tcp":{},"8001/tcp":{},"8002/tcp":{}}}`},
		{`LABEL a=b "c d"="e f" g.h=`, `{"Labels":{"a":"b","c d":"e f","g.h":""}}`},
		{"LABEL multi=\"a\\\nb\"", `{"Labels":{"multi":"a b"}}`},
		{"# a comment\n\n  USER nobody:root", `{"User":"nobody:root"}`},
		{`USER a b`, `{"User":"a b"}`},
		{"ENV H=/home\nWORKDIR $H\nWORKDIR x/../y", `{"Env":["H=/home"],"WorkingDir":"/home/y"}`},
		{`VOLUME /a /b`, `{"Volumes":{"/a":{},"/b":{}}}`},
		{`VOLUME ["/a b"]`, `{"Volumes":{"/a b":{}}}`},
		{`STOPSIGNAL SIGINT`, `{"StopSignal":"SIGINT"}`},
		{"ONBUILD RUN x\nONBUILD CMD y", `{"OnBuild":["RUN x","CMD y"]}`},
		{`HEALTHCHECK NONE`, `{"Healthcheck":{"Test":["NONE"]}}`},
		{`HEALTHCHECK --interval=2s --retries=3 CMD ["t", "x"]`, `{"Healthcheck":{"Test":["CMD","t","x"],"Interval":2000000000,"Retries":3}}`},
		{`HEALTHCHECK --timeout=1m --start-period=1s --start-interval=1ms CMD test -f /x`,
			`{"Healthcheck":{"Test":["CMD-SHELL","test -f /x"],"Timeout":60000000000,"StartPeriod":1000000000,"StartInterval":1000000}}`},
	} {
		var got Config
		if err := Apply(&got, []string{c.lines}); err != nil {
			t.Errorf("%q: %v", c.lines, err)
		}
		if b, _ := json.Marshal(got); string(b) != c.want {
			t.Errorf("%q gives\n%s, want\n%s", c.lines, b, c.want)
		}
	}
}

// What was there before stays, but for the command that the entrypoint had.
func TestApplyToOld(t *testing.T) {
	var c Config
	c.Env, c.Cmd, c.Labels = []string{"PATH=/bin", "X=1"}, []string{"old"}, map[string]string{"a": "1"}
	labels := c.Labels
	if err := Apply(&c, []string{"ENV PATH=$PATH:/opt", "LABEL b=2", "ENTRYPOINT x"}); err != nil {
		t.Fatal(err)
	}
	if b, _ := json.Marshal(c); string(b) != `{"Env":["PATH=/bin:/opt","X=1"],"Entrypoint":["/bin/sh","-c","x"],"Labels":{"a":"1","b":"2"}}` {
		t.Errorf("%s", b)
	}
	if len(labels) != 1 {
		t.Error("the map of the caller has changed")
	}
}

func TestApplyRefuses(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"RUN x", "RUN is not a valid change command"},
		{"FROM x", "FROM is not a valid change command"},
		{"CMD", "CMD requires at least one argument"},
		{"ENV A", "two arguments"},
		{"ENV A=1 B", `"B" is not NAME=VALUE`},
		{`ENV A="x`, "not closed"},
		{`ENV A=${x`, "not closed"},
		{`ENV A=${x:?y}`, "unsupported modifier"},
		{`ENV A=${x-y}`, "not a variable"},
		{"EXPOSE x", "Invalid containerPort: x"},
		{"EXPOSE 70000", "Invalid containerPort"},
		{"EXPOSE 5-2", "Invalid containerPort"},
		{"EXPOSE 5/icmp", "Invalid containerPort"},
		{"USER", "USER requires exactly one argument"},
		{"", "file with no instructions"},
		{"# nothing", "file with no instructions"},
		{"ENV =x", "names can not be blank"},
		{`CMD ["a", 1]`, "arrays must be comprised of strings only"},
		{"ONBUILD onbuild RUN x", "Chaining ONBUILD"},
		{"ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"},
		{"VOLUME []", "VOLUME requires at least one argument"},
		{"HEALTHCHECK x", "NONE, or CMD"},
		{"HEALTHCHECK --retries=0 CMD x", "at least 1"},
		{"HEALTHCHECK --interval=x CMD x", "needs a time"},
		{"HEALTHCHECK --other=1s CMD x", "unknown flag"},
		{`VOLUME [""]`, "empty path"},
	} {
		err := Apply(new(Config), []string{c.line})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.line, err, c.want)
		}
	}
}

func FuzzApply(f *testing.F) {
	f.Add("ENV A=${B:-x} C='d'")
	f.Add("HEALTHCHECK --interval=1s CMD x")
	f.Fuzz(func(t *testing.T, line string) {
		var c Config
		if Apply(&c, []string{line}) == nil {
			if _, err := json.Marshal(c); err != nil {
				t.Error(err)
			}
		}
	})
}
