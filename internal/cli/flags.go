package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"berth/internal/cli/format"
	"berth/internal/cli/opts"
)

// formatFlag declares --format of a listing.
func formatFlag(f *pflag.FlagSet) *string {
	return f.String("format", "", `Format output using a custom template:
'table':            Print output in table format with column headers (default)
'table TEMPLATE':   Print output in table format using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates`)
}

// inspectFlag declares --format of an inspection.
func inspectFlag(f *pflag.FlagSet) *string {
	return f.StringP("format", "f", "", `Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates`)
}

// templateFailure is 64 for a template that cannot be read, as in docker, and 1
// for one that asks for what is not there.
func templateFailure(err error) error {
	var parse *format.ParseError
	if errors.As(err, &parse) {
		return &failure{code: 64, text: err.Error(), err: err}
	}
	return err
}

// refuse answers with an error for the first of the options that was given.
// They are Docker's, and berth cannot do what they ask for.
func refuse(f *pflag.FlagSet, names ...string) error {
	for _, n := range names {
		if f.Changed(n) {
			return opts.NotSupported("--" + n)
		}
	}
	return nil
}

// confirm asks whether to go on. No answer is no.
func (a *app) confirm(warning string) bool {
	fmt.Fprintf(a.env.Stdout, "WARNING! %s\nAre you sure you want to continue? [y/N] ", warning)
	line, err := bufio.NewReader(a.env.Stdin).ReadString('\n')
	if err != nil && (err != io.EOF || line == "") {
		fmt.Fprintln(a.env.Stdout)
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}
