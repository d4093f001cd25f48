package vm

import "testing"

// TestParse: what a test program says becomes a tree of results.
func TestParse(t *testing.T) {
	const mark = "\x16"
	said := mark + "=== RUN   TestA\n" + mark + "=== RUN   TestA/one\n    a_test.go:1: seen\n" + mark + "=== RUN   TestA/two\n" +
		mark + "=== NAME  TestA\n" + mark + "--- FAIL: TestA (0.10s)\n    " + mark + "--- PASS: TestA/one (0.00s)\n    " + mark + "--- FAIL: TestA/two (0.00s)\n" +
		mark + "=== RUN   TestB\n" + mark + "--- SKIP: TestB (0.00s)\n" + mark + "=== RUN   TestC\n"
	top, err := parse([]byte(said))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"TestA": "fail", "TestA/one": "pass", "TestA/two": "fail", "TestB": "skip"}
	for name, action := range want {
		if got := top.find(name).action; got != action {
			t.Errorf("%s is %q, want %q", name, got, action)
		}
	}
	if len(top.sub) != 3 || len(top.sub[0].sub) != 2 {
		t.Errorf("the tree has %d tests, the first of them %d parts", len(top.sub), len(top.sub[0].sub))
	}
	if got := top.find("TestC").action; got == "pass" {
		t.Error("a test that did not end has passed")
	}
	if got := top.find("TestA/one").output.String(); got == "" {
		t.Error("the output is lost")
	}
}
