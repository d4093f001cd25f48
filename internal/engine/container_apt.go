package engine

import (
	"os"

	"github.com/moby/moby/api/types/container"

	"berth/internal/layer"
	"berth/internal/state"
)

// aptSettings has apt fetch as root. It would rather do that as a user of its
// own, looks whether it has become that user, and stops where a container has
// a single id and could not (apt.conf(5)).
const aptSettings = `// A container with one user and group: there is nobody to become.
APT::Sandbox::User "root";
`

// writeAptFile makes the settings of apt for a container with a single id, if
// its image has apt. They reach it through its environment, so that nothing in
// the image changes. Empty is the answer where none are needed.
func (e *Engine) writeAptFile(r *record, view *layer.View) (string, error) {
	path := e.containerDir(r.ID, aptFile)
	_, err := view.Lstat("/etc/apt")
	if !e.host.Rootless || r.IDs != "" || err != nil || ownDev(r.Mounts) {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return "", err
		}
		return "", nil
	}
	return path, state.WriteVolatile(path, []byte(aptSettings), 0o644)
}

// aptFileOf is the file that a running container was started with.
func (e *Engine) aptFileOf(r *record) string {
	path := e.containerDir(r.ID, aptFile)
	if _, err := os.Lstat(path); err != nil {
		return ""
	}
	return path
}

// ownDev reports whether the user brings a /dev, where ours would be missing.
func ownDev(mounts []container.MountPoint) bool {
	for _, m := range mounts {
		if m.Destination == "/dev" {
			return true
		}
	}
	return false
}
