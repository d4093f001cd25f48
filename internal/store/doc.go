// Package store keeps what images are made of apart from their files: an OCI
// image layout (https://github.com/opencontainers/image-spec) in the folder
// oci/ of the data root.
//
//   - oci/blobs/sha256/<hex> holds manifests and image configurations, each
//     under the digest of its bytes. Package layer keeps what is in the blobs
//     of layers, unpacked; the blobs themselves lie here only where somebody
//     asked to keep them (pull --keep-blobs), so their absence is the rule.
//   - oci/index.json lists the manifests, one entry per name. The annotation
//     org.opencontainers.image.ref.name carries the full name,
//     "docker.io/library/busybox:latest", or, for what a registry is known to
//     call by digest, "docker.io/library/busybox@sha256:…". A manifest without
//     any name is an image that lost its tag.
//
// An image is identified by the digest of its configuration, as in Docker.
//
// Readers take no lock: index.json is replaced whole. Writers of the index
// take oci/index.lock for as long as the replacing takes. A second lock,
// oci/collect.lock, stands between those who link things together and the
// collector, which removes what nothing refers to:
//
//   - [Store.Hold] takes it shared. Whoever looks up an image and then records
//     somewhere that it is needed (a container, a tag) does both under one
//     Hold.
//   - [Store.Collector] takes it alone. It is held for renames only.
//   - A pull works for minutes and must not hold either lock meanwhile. It
//     takes a [Lease], a file that names the layers it counts on; the
//     collector honours the leases of living processes.
package store
