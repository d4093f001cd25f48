// Package archive reads and writes images as one tar file: `save`, `load` and
// `import`.
//
// What [Save] writes is two formats in one, as Docker does since version 25:
//
//	oci-layout, index.json   an OCI image layout
//	manifest.json,           a Docker archive, whose entries point to the
//	repositories             same blobs
//	blobs/sha256/<hex>       manifests, configurations, layers
//
// The documents come before the layers, so that [Load] knows from a pipe what
// it needs. A layer is written as the blob it came in where that was kept (see
// package store), else as its tar stream, made again by package layer; the
// manifest in the archive then names the stream. The configuration, and with it
// the image's ID, is the same in both cases. All sizes are known beforehand, so
// nothing is written twice, and the same images make the same bytes.
//
// [Load] takes such archives, those of older Docker and of others (layers
// beside a manifest.json, packed or not, some of them symbolic links to
// another), plain OCI layouts, and all of them packed as a whole. A file is
// looked through first, and then only what is missing is unpacked, several
// layers at once. A pipe is read once: a layer that comes before the documents
// that name it is unpacked all the same. It is known by the digest of its
// bytes, so an image is whole when all layers that its configuration names are
// there, whatever the archive called them.
//
// # Foreign bytes
//
// Names in an archive never become paths: they are keys to look up, blobs are
// compared with the digests that lead to them, and layers are unpacked by
// package layer. Documents, names and entries are counted, and the disk is
// watched while it fills. Nothing is listed before all of its image was right.
package archive
