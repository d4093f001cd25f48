package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"berth/internal/cli/term"
)

// helpRoot prints the overview.
func (a *app) helpRoot() {
	var s strings.Builder
	fmt.Fprintf(&s, "Usage:  %s [OPTIONS] COMMAND\n\nA container engine without a daemon\n", a.name)
	common := strings.Fields("run exec ps pull push images login logout search version info")
	list := func(title string, lines [][2]string) {
		fmt.Fprintf(&s, "\n%s:\n", title)
		for _, l := range lines {
			fmt.Fprintf(&s, "  %-11s %s\n", l[0], l[1])
		}
	}
	short := map[string]string{}
	var others [][2]string
	for _, v := range verbs() {
		for _, p := range v.paths {
			if _, _, nested := cutWord(p); nested {
				continue
			}
			short[p] = v.short
			if !slices.Contains(common, p) {
				others = append(others, [2]string{p, v.short})
			}
		}
	}
	var first, groups [][2]string
	for _, c := range common {
		first = append(first, [2]string{c, short[c]})
	}
	for _, n := range nouns() {
		groups = append(groups, [2]string{n.name, n.short})
	}
	slices.SortFunc(others, func(x, y [2]string) int { return strings.Compare(x[0], y[0]) })
	list("Common Commands", first)
	list("Management Commands", groups)
	list("Commands", others)
	fmt.Fprintf(&s, "\nGlobal Options:\n%s", a.flagUsages(a.globalFlags(new(settings))))
	fmt.Fprintf(&s, "\nRun '%s COMMAND --help' for more information on a command.\n", a.name)
	a.env.Stdout.WriteString(s.String())
}

// helpNoun prints the verbs of a noun.
func (a *app) helpNoun(name string) {
	var s strings.Builder
	for _, n := range nouns() {
		if n.name == name {
			fmt.Fprintf(&s, "Usage:  %s %s COMMAND\n\n%s\n\nCommands:\n", a.name, name, n.short)
		}
	}
	for _, v := range verbs() {
		if noun, word, _ := cutWord(v.paths[0]); noun == name && word != "" {
			fmt.Fprintf(&s, "  %-11s %s\n", word, v.short)
		}
	}
	fmt.Fprintf(&s, "\nRun '%s %s COMMAND --help' for more information on a command.\n", a.name, name)
	a.env.Stdout.WriteString(s.String())
}

// helpFor is the command help.
func (a *app) helpFor(args []string) error {
	if len(args) == 0 {
		a.helpRoot()
		return nil
	}
	v, path, err := a.lookup(args)
	if err != nil {
		return err
	}
	if v == nil {
		a.helpNoun(path)
		return nil
	}
	_, leaf := a.build(v, path)
	a.helpVerb(leaf, v)
	return nil
}

// helpVerb prints how a command is used.
func (a *app) helpVerb(c *cobra.Command, v *verb) {
	var s strings.Builder
	text := c.Long
	if text == "" {
		text = c.Short
	}
	fmt.Fprintf(&s, "Usage:  %s\n\n%s\n", c.UseLine(), text)
	if len(v.paths) > 1 {
		var all []string
		for _, p := range v.paths {
			all = append(all, a.name+" "+p)
		}
		fmt.Fprintf(&s, "\nAliases:\n  %s\n", strings.Join(all, ", "))
	}
	if flags := a.flagUsages(c.LocalFlags()); flags != "" {
		fmt.Fprintf(&s, "\nOptions:\n%s", flags)
	}
	a.env.Stdout.WriteString(s.String())
}

func (a *app) flagUsages(f *pflag.FlagSet) string {
	_, width := term.Size(a.env.Stdout)
	if width == 0 {
		width = 80
	}
	return f.FlagUsagesWrapped(int(width) - 1)
}
