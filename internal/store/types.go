package store

import "strings"

// Media types of what the store holds.
const (
	MediaTypeIndex    = "application/vnd.oci.image.index.v1+json"
	MediaTypeManifest = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeConfig   = "application/vnd.oci.image.config.v1+json"
	MediaTypeLayer    = "application/vnd.oci.image.layer.v1.tar"

	// MediaTypeDockerManifest is what older registries call a manifest.
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

// Annotations of entries in index.json.
const (
	// AnnotationName is the full name of an entry.
	AnnotationName = "org.opencontainers.image.ref.name"
	// AnnotationID repeats the digest of the configuration, so that looking
	// for an image by ID need not open every manifest.
	AnnotationID = "berth.image.id"
	// AnnotationTagged is when the entry was made, in RFC 3339.
	AnnotationTagged = "berth.tagged"
)

// Descriptor names a blob. It has the OCI form; digests are plain strings,
// because the usual digest package compiles its patterns at every start.
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	URLs        []string          `json:"urls,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *Platform         `json:"platform,omitempty"`
}

// Platform is what an image runs on.
type Platform struct {
	Architecture string   `json:"architecture"`
	OS           string   `json:"os"`
	OSVersion    string   `json:"os.version,omitempty"`
	OSFeatures   []string `json:"os.features,omitempty"`
	Variant      string   `json:"variant,omitempty"`
}

// String returns os/arch[/variant].
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Manifest is an image manifest; the layers stand bottom first.
type Manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	Config        Descriptor        `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// index is the file index.json.
type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType,omitempty"`
	Manifests     []Descriptor `json:"manifests"`
}

// Hex returns the 64 digits of a sha256 digest, and whether s is one. Digests
// come from foreign documents and become file names, so nothing else may be
// used for a path.
func Hex(digest string) (string, bool) {
	hex, ok := strings.CutPrefix(digest, "sha256:")
	return hex, ok && isHex64(hex)
}

func isHex64(s string) bool { return len(s) == 64 && isHex(s) }

func isHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}
