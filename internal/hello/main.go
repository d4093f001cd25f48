package hello

import (
	"fmt"
	"io"
	"os"
	"strings"
)

const greeting = `Ahoy! This is the container talking: berth works on this machine.

berth made an image of its own program, a container of the image, and ran the
program in it. No daemon was involved and nothing was downloaded.

What this container sees:
`

const goOn = `
Go on with any image of Docker Hub or another registry:

  berth pull debian
  berth run -it --rm debian bash      a shell; leave it with exit or Ctrl-D
  berth run -d --name web nginx       in the background; see berth ps, berth logs
  berth run --help
`

const noShell = `
(This image holds nothing but this program, so %q was not run. Take another
image for that, as in: berth run -it debian bash)
`

// Main is what runs inside the container. It returns the exit code.
func Main() int {
	if err := greet(os.Stdout, "/", os.Args); err != nil {
		return 1
	}
	return 0
}

// greet writes all there is to say. The tree at root is looked at.
func greet(w io.Writer, root string, args []string) error {
	var b strings.Builder
	b.WriteString(greeting)
	for _, f := range facts(root) {
		for i, line := range f.lines {
			name := f.name
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(&b, "  %-10s %s\n", name, line)
		}
	}
	if len(args) > 2 {
		fmt.Fprintf(&b, noShell, strings.Join(args[2:], " "))
	}
	b.WriteString(goOn)
	_, err := io.WriteString(w, b.String())
	return err
}

// fact is one thing the container sees.
type fact struct {
	name  string
	lines []string
}

func facts(root string) []fact {
	l := look{root: root}
	return []fact{
		{"user", l.user()},
		{"process", l.process()},
		{"host name", l.hostname()},
		{"kernel", l.kernel()},
		{"cpus", l.cpus()},
		{"memory", l.memory()},
		{"mounts", l.mounts()},
		{"network", l.network()},
		{"gpus", l.gpus()},
	}
}
