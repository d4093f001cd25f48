// Package push sends an image of the data root to a registry.
//
// The store has manifests and configurations byte for byte, but layers only as
// folders: the packed form in which a layer travels, and whose digest the
// manifest names, is mostly gone. A push wants the digests to stay, so for
// each layer it takes the first of these that works:
//
//   - the repository has it;
//   - another repository of the same registry has it, and the registry mounts
//     it from there;
//   - the packed layer was kept (pull --keep-blobs);
//   - the registry that the image came from still has it: it is streamed
//     through, verified, from one to the other;
//   - the tar stream is made again (package layer) and packed anew, on all
//     cores (gzip.go). Only then the layer has a new digest, and so the manifest.
//
// One diff ID may travel in several forms, as several images of the store can
// have the same layer; each of them will do (forms.go).
//
// Layers go at once, then the configuration, then the manifest, which the
// registry accepts only when it has the rest. Nothing is written here before
// that, when the image gets the name that it now has there; so a push that is
// killed leaves nothing.
package push
