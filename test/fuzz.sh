#!/bin/sh
# Runs fuzz tests one after the other: test/fuzz.sh TIME [PATTERN]
#
# PATTERN, an extended regular expression, chooses among lines "PACKAGE NAME".
# An input that fails is written to testdata/fuzz beside the test; committed
# there it is part of every later "go test", as the rest of the corpus is. What
# only leads to new code stays in Go's cache and speeds up the next run.
set -eu
time=${1:?usage: test/fuzz.sh TIME [PATTERN]}
go=${GO:-go}
cd "$(dirname "$0")/.."

found=$($go list -f '{{$p := .}}{{range .TestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}
{{end}}{{range .XTestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}
{{end}}' ./... | while read -r pkg file; do
	[ -n "$pkg" ] || continue
	sed -n "s|^func \\(Fuzz[A-Za-z0-9_]*\\)(.*|$pkg \\1|p" "$file"
done | grep -E "${2:-.}") || { echo "no fuzz test matches ${2:-.}" >&2; exit 1; }

echo "$found" | while read -r pkg name; do
	echo "fuzz $pkg $name for $time"
	out=$($go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$pkg" </dev/null 2>&1) || {
		# The go command may report its own end of time as a failure; one
		# that was found always names an input.
		case $out in
		*'Failing input written'* | *'panic:'* | *'[build failed]'*) echo "$out"; exit 1 ;;
		*'context deadline exceeded'*) ;;
		*) echo "$out"; exit 1 ;;
		esac
	}
	echo "$out" | grep 'execs:' | tail -1 || true
done
