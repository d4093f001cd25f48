package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"berth/internal/cli/opts"
)

// verb is one thing a person can ask for.
type verb struct {
	paths []string // its names, "container run" and "run"
	short string
	make  func(*app) *cobra.Command
}

// noun is a group of verbs.
type noun struct{ name, short string }

func nouns() []noun {
	return []noun{
		{"container", "Manage containers"},
		{"image", "Manage images"},
		{"manifest", "Manage image manifests and manifest lists"},
		{"network", "Manage networks"},
		{"system", "Manage berth"},
		{"volume", "Manage volumes"},
	}
}

// verbs lists all commands.
func verbs() []verb {
	return append(networkVerbs(), []verb{
		{names("container attach", "attach"), "Attach local standard input, output, and error streams to a running container", (*app).attachCommand},
		{names("container commit", "commit"), "Create a new image from a container's changes", (*app).commitCommand},
		{names("container cp", "cp"), "Copy files/folders between a container and the local filesystem", (*app).cpCommand},
		{names("container create", "create"), "Create a new container", (*app).createCommand},
		{names("container diff", "diff"), "Inspect changes to files or directories on a container's filesystem", (*app).diffCommand},
		{names("container exec", "exec"), "Execute a command in a running container", (*app).execCommand},
		{names("container export", "export"), "Export a container's filesystem as a tar archive", (*app).exportCommand},
		{names("container inspect"), "Display detailed information on one or more containers", (*app).containerInspectCommand},
		{names("container kill", "kill"), "Kill one or more running containers", (*app).killCommand},
		{names("container logs", "logs"), "Fetch the logs of a container", (*app).logsCommand},
		{names("container ls", "container list", "container ps", "ps"), "List containers", (*app).psCommand},
		{names("container pause", "pause"), "Pause all processes within one or more containers", (*app).pauseCommand},
		{names("container port", "port"), "List port mappings or a specific mapping for the container", (*app).portCommand},
		{names("container prune"), "Remove all stopped containers", (*app).containerPruneCommand},
		{names("container rename", "rename"), "Rename a container", (*app).renameCommand},
		{names("container restart", "restart"), "Restart one or more containers", (*app).restartCommand},
		{names("container rm", "container remove", "rm"), "Remove one or more containers", (*app).rmCommand},
		{names("container run", "run"), "Create and run a new container from an image", (*app).runCommand},
		{names("container start", "start"), "Start one or more stopped containers", (*app).startCommand},
		{names("container stats", "stats"), "Display a live stream of container(s) resource usage statistics", (*app).statsCommand},
		{names("container stop", "stop"), "Stop one or more running containers", (*app).stopCommand},
		{names("container top", "top"), "Display the running processes of a container", (*app).topCommand},
		{names("container unpause", "unpause"), "Unpause all processes within one or more containers", (*app).unpauseCommand},
		{names("container update", "update"), "Update configuration of one or more containers", (*app).updateCommand},
		{names("container wait", "wait"), "Block until one or more containers stop, then print their exit codes", (*app).waitCommand},

		{names("image history", "history"), "Show the history of an image", (*app).historyCommand},
		{names("image inspect"), "Display detailed information on one or more images", (*app).imageInspectCommand},
		{names("image import", "import"), "Import the contents from a tarball to create a filesystem image", (*app).importCommand},
		{names("image load", "load"), "Load an image from a tar archive or STDIN", (*app).loadCommand},
		{names("image ls", "image list", "images"), "List images", (*app).imagesCommand},
		{names("image prune"), "Remove unused images", (*app).imagePruneCommand},
		{names("image pull", "pull"), "Download an image from a registry", (*app).pullCommand},
		{names("image push", "push"), "Upload an image to a registry", (*app).pushCommand},
		{names("image rm", "image remove", "rmi"), "Remove one or more images", (*app).rmiCommand},
		{names("image save", "save"), "Save one or more images to a tar archive (streamed to STDOUT by default)", (*app).saveCommand},
		{names("image tag", "tag"), "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE", (*app).tagCommand},

		{names("doctor"), "Find out what works on this machine, and how to get what does not", (*app).doctorCommand},
		{names("inspect"), "Return low-level information on objects", (*app).inspectCommand},
		{names("login"), "Authenticate to a registry", (*app).loginCommand},
		{names("logout"), "Log out from a registry", (*app).logoutCommand},
		{names("manifest inspect"), "Display an image manifest, or manifest list", (*app).manifestInspectCommand},
		{names("search"), "Search a registry for images", (*app).searchCommand},
		{names("system df"), "Show how much room everything takes", (*app).dfCommand},
		{names("system events", "events"), "Get real time events", (*app).eventsCommand},
		{names("system info", "info"), "Display system-wide information", (*app).infoCommand},
		{names("system prune"), "Remove unused data", (*app).systemPruneCommand},
		{names("version"), "Show the version information", (*app).versionCommand},

		{names("volume create"), "Create a volume", (*app).volumeCreateCommand},
		{names("volume inspect"), "Display detailed information on one or more volumes", (*app).volumeInspectCommand},
		{names("volume ls", "volume list"), "List volumes", (*app).volumeLsCommand},
		{names("volume prune"), "Remove unused local volumes", (*app).volumePruneCommand},
		{names("volume rm", "volume remove"), "Remove one or more volumes", (*app).volumeRmCommand},
	}...)
}

func names(n ...string) []string { return n }

// lookup finds the verb that args begin with. For a noun alone the verb is nil
// and the path is the noun.
func (a *app) lookup(args []string) (*verb, string, error) {
	path := args[0]
	isNoun := false
	for _, n := range nouns() {
		isNoun = isNoun || n.name == path
	}
	if isNoun {
		if len(args) == 1 || args[1] == "--help" || args[1] == "-h" {
			return nil, path, nil
		}
		path += " " + args[1]
	}
	all := verbs()
	for i, v := range all {
		for _, p := range v.paths {
			if p == path {
				return &all[i], path, nil
			}
		}
	}
	return nil, "", a.unknown(path, all)
}

// unknown says that there is no such command: not yet, or not at all.
func (a *app) unknown(path string, all []verb) error {
	if strings.HasPrefix(path, "-") {
		return &failure{code: 125, text: "unknown flag: " + path}
	}
	if laterCommand(path) {
		return opts.NotSupported(a.name + " " + path)
	}
	text := fmt.Sprintf("unknown command: %s %s", a.name, path)
	if near := nearest(path, all); near != "" {
		text += fmt.Sprintf("\n\nDid you mean this?\n\t%s %s", a.name, near)
	}
	help := a.name
	if noun, _, nested := cutWord(path); nested {
		help += " " + noun
	}
	return &failure{code: 1, text: fmt.Sprintf("%s\n\nRun '%s --help' for more information", text, help)}
}

// laterCommand knows the commands of Docker that are not here yet.
func laterCommand(path string) bool {
	noun, name, nested := cutWord(path)
	if !nested {
		noun, name = "", path
	}
	for _, known := range []struct{ noun, names string }{
		{"", "build builder buildx checkpoint compose config context node plugin secret service stack swarm trust"},
		{"image", "build"},
		{"manifest", "annotate create push rm"},
		{"volume", "update"},
	} {
		if known.noun == noun {
			for _, n := range strings.Fields(known.names) {
				if n == name {
					return true
				}
			}
		}
	}
	return false
}

// nearest returns the command that was probably meant.
func nearest(path string, all []verb) string {
	best, bestDistance := "", 3
	if len(path) < 4 {
		bestDistance = 2 // any three letters are near to something
	}
	for _, v := range all {
		for _, p := range v.paths {
			if d := distance(path, p); d < bestDistance {
				best, bestDistance = p, d
			}
		}
	}
	return best
}

// distance counts the letters to change, add or leave out between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// cutWord splits "container run" into its two words.
func cutWord(path string) (first, rest string, ok bool) { return strings.Cut(path, " ") }

// afterWord is what follows the first word, with its space.
func afterWord(use string) string {
	if i := strings.IndexByte(use, ' '); i >= 0 {
		return use[i:]
	}
	return ""
}
