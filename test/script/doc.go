// Package script runs the scripts in testdata, one for each verb or theme of
// berth's command line, in the words a person types. Each runs as root and as
// an ordinary account, from an empty data root, against real registries; after
// each the data root must be at rest again.
//
// Besides the commands of testscript they know:
//
//	exit N cmd args...        run cmd, which must end with code N
//	pty file cmd args...      run cmd in a terminal; file says what is expected and typed
//	waitfor pattern cmd args  run cmd again and again until its output matches
//	httpget url pattern       fetch a page, waiting for its server
//	set NAME                  keep the last output, trimmed, in a variable
//	clean                     remove all containers; nothing may be left
//	noleak                    nothing may be left, without removing anything
//	nowrite path              the path must not exist, and must not appear later
//
// Conditions: [root] and [user] tell the account, [cgroup] whether it may make
// control groups. A terminal file has one step a line:
//
//	expect PATTERN | send "text" | resize ROWS COLS | within DURATION PATTERN |
//	hangup | sleep DURATION | exit N | end
package script
