package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"berth/internal/disk"
	"berth/internal/layer"
	crt "berth/internal/runtime"
	"berth/internal/shim"
)

// Drivers of the container's root file system.
const (
	driverOverlay = "overlay"
	driverCopy    = "copy"
)

// rootfs describes where the root file system comes from. Paths are relative to
// the container's folder.
func (e *Engine) rootfs(r *record) (crt.Rootfs, error) {
	root := crt.Rootfs{Base: e.containerDir(r.ID), Target: rootfsDir, NoDev: !r.HostConfig.Privileged}
	if r.Driver == driverCopy {
		return root, nil
	}
	trees, err := e.stack(r)
	if err != nil {
		return root, err
	}
	if root.Lower, err = lower(root.Base, trees); err != nil {
		return root, err
	}
	root.Upper, root.Work = upperDir, workDir
	root.UserXattr = layer.UserXattr()
	root.Volatile = r.HostConfig.AutoRemove && e.host.KernelAtLeast(5, 10)
	return root, nil
}

// lowerSpace is how many bytes the names of layers may take of the page that
// mount(2) reads: the rest is for the other options.
const lowerSpace = 3 << 10

// lower returns names for layers as seen from a container's folder. Where those
// would not fit, or have characters that mean something to overlay, they are
// links in a folder of their own: 500 of them fit, and more the kernel does not
// take (OVL_MAX_STACK).
func lower(dir string, trees []string) ([]string, error) {
	var names []string
	size := 0
	for _, t := range trees {
		name, err := filepath.Rel(dir, t)
		if err != nil || strings.ContainsAny(name, `:,\`) {
			return links(dir, trees)
		}
		names = append(names, name)
		size += len(name) + 1
	}
	if size > lowerSpace {
		return links(dir, trees)
	}
	return names, nil
}

// links makes l/0, l/1 and so on in a container's folder, which its lock guards.
func links(dir string, trees []string) ([]string, error) {
	err := os.Mkdir(filepath.Join(dir, "l"), 0o755)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	var names []string
	for i, t := range trees {
		name := "l/" + strconv.Itoa(i)
		names = append(names, name)
		link := filepath.Join(dir, name)
		if to, err := os.Readlink(link); err == nil && to == t {
			continue
		}
		os.Remove(link)
		if err := os.Symlink(t, link); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// maxLayers is what the kernel takes in one overlay mount (OVL_MAX_STACK).
const maxLayers = 500

// driver chooses how the root file system will be made. Why is the reason if
// it is not overlay and nobody has asked for it.
func (e *Engine) driver(diffIDs []string) (name, why string) {
	switch {
	case e.config.Storage == driverOverlay:
		return driverOverlay, ""
	case e.config.Storage == driverCopy:
		return driverCopy, ""
	case !e.host.OverlayPossible() && e.host.Rootless:
		return driverCopy, "this kernel lets accounts use no overlay, as Linux 5.11 and newer do"
	case !e.host.OverlayPossible():
		return driverCopy, "this kernel has no overlay"
	case len(diffIDs) > maxLayers:
		return driverCopy, fmt.Sprintf("it has %d layers, and overlay takes %d", len(diffIDs), maxLayers)
	case !e.ownLayers().OverlayFits(diffIDs):
		return driverCopy, "its layers were unpacked where overlay's marks could not be kept"
	}
	return driverOverlay, ""
}

// settleDriver changes the driver of a container that is being made in dir if
// overlay could not write there.
func (e *Engine) settleDriver(r *record, dir string) (why string) {
	if r.Driver == driverOverlay && e.config.Storage != driverOverlay && !disk.KeepsMarks(filepath.Join(dir, upperDir), e.host.Rootless) {
		r.Driver = driverCopy
		return fmt.Sprintf("%s here keeps no extended attributes, which overlay needs", disk.KindOf(dir).Name)
	}
	return ""
}

// copyNote is the line that says why a container's root is a copy.
func (e *Engine) copyNote(why string) string {
	text := "the root of this container is a copy of its image: " + why
	if disk.SharesBlocks(e.dir.Path("layers"), e.dir.Path("containers")) {
		text += "; it shares its blocks with the image"
	}
	return text
}

// withoutOverlay changes the container to a plain copy of its layers.
func (e *Engine) withoutOverlay(ctx context.Context, r *record) (*shim.Conn, error) {
	r.Driver = driverCopy
	if err := e.copyLayers(ctx, r, "/", e.containerDir(r.ID, rootfsDir)); err != nil {
		return nil, err
	}
	if err := e.roster.Write(e.containerDir(r.ID), r); err != nil {
		return nil, err
	}
	return e.launchShim()
}
