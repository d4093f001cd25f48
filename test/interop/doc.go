// Package interop has other programs look at what berth writes, and berth at
// what they write: skopeo always, podman and docker where they are installed,
// each in a store of its own. What counts is the digest of the configuration,
// which names an image and all its layers, and where layers travel as they
// came, that of the manifest.
package interop
