// Package registry fetches images from registries that speak the OCI
// distribution protocol, Docker Hub among them. It keeps nothing: what it
// returns is verified and handed on.
//
// The protocol is three kinds of GET below https://HOST/v2/NAME/. A tag names
// a manifest (manifests/TAG); the manifest, or for several platforms a list
// of manifests, names everything else by the SHA-256 of its content, so all
// that follows can be checked, whoever delivers it. [Client.Resolve] follows
// the chain to the manifest and configuration for one platform and
// [Client.Blob] streams one layer.
//
// A name may be served by several endpoints: the mirrors that are configured
// for its registry and then the registry itself. They are tried in order, and
// a blob that breaks off at one goes on at the next.
//
// Authentication is our own: a registry answers 401 with a challenge, and the
// client comes back with Docker's stored password or with a token fetched
// from the server that the challenge names. A library for this exists, but it
// refuses token servers on private addresses, which are common inside
// companies, asks one more question for every pull, and would make every
// start of every berth command measurably slower.
package registry
