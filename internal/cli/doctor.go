package cli

import (
	"context"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"berth/internal/doctor"
	"berth/internal/remote"
	"berth/internal/version"
)

// askTime is how long registries may take to answer, all of them at once.
const askTime = 15 * time.Second

// doctorCommand is doctor.
func (a *app) doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "doctor [OPTIONS]", Args: noArgs,
		Long: `Find out what works on this machine, and how to get what does not

One line for each check: ok, warn or fail, what is, what that means, and a fix.
The exit code is 1 if a check fails and 0 otherwise, warnings included.`,
	}
	f := c.Flags()
	asJSON := f.Bool("json", false, "Print in JSON format")
	fix := f.Bool("fix", false, "Do what the printed fixes say, as far as this account may")
	letter := f.Bool("letter", false, "Print only the text to send to the machine's administrator")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *letter && (*asJSON || *fix) {
			return &failure{code: 1, text: "conflicting options: --letter goes with no other option"}
		}
		opt := doctor.Options{Root: a.set.root}
		opt.DockerConfig, _ = a.configDir()
		if !*letter {
			opt.Ask = a.askRegistries
		}
		return a.tell(doctor.Examine(c.Context(), opt), *asJSON, *fix, *letter)
	}
	return c
}

// tell prints a report and chooses the exit code.
func (a *app) tell(r doctor.Report, asJSON, fix, letter bool) error {
	switch {
	case letter && r.Letter == "":
		return a.println("Nobody has to be asked: user namespaces are not refused by a setting of this machine.")
	case letter:
		_, err := a.env.Stdout.WriteString(r.Letter)
		return err
	case asJSON:
		enc := json.NewEncoder(a.env.Stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(r); err != nil {
			return err
		}
	default:
		for _, f := range r.Findings {
			if err := a.println(f.Line()); err != nil {
				return err
			}
		}
		if r.Letter != "" {
			if err := a.println("\nA text for the administrator of this machine:\n\n" + r.Letter); err != nil {
				return err
			}
		}
	}
	out := a.env.Stdout
	if asJSON {
		out = a.env.Stderr // standard output is one document
	}
	if fix && !r.Repair(out) {
		return silent(1)
	}
	if r.Worst() == doctor.Failure {
		return silent(1)
	}
	return nil
}

// askRegistries has the program that talks to registries ask them.
func (a *app) askRegistries(ctx context.Context, root string, domains []string) ([]doctor.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	p := remote.New(remote.Request{Program: a.name, Version: version.Get().Version, DockerConfig: a.set.configDir})
	said, err := p.Ping(ctx, root, domains)
	var out []doctor.Answer
	for _, s := range said {
		out = append(out, doctor.Answer(s))
	}
	return out, err
}
