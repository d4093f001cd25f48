// Package hello is the starter image berth/hello, so that a machine that
// reaches no registry can run a container. The image is the running binary
// itself: its only file, /hello, is a copy of it, which started under that
// name greets and tells what the container sees ([Main]).
//
// This package makes the documents and the tar stream of the image; putting
// them into the store is the engine's work.
package hello

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"runtime"
	"runtime/debug"
	"time"
)

const (
	// Name is the full name of the image.
	Name = "docker.io/berth/hello:latest"
	// Arg is the argument with which the binary, started as "hello", greets.
	Arg = "__hello"

	program = "hello" // in the root folder of the image
)

// WriteLayer writes the tar stream of the only layer. The same binary makes
// the same stream.
func WriteLayer(w io.Writer, binary io.Reader, size int64) error {
	t := tar.NewWriter(w)
	h := &tar.Header{Typeflag: tar.TypeReg, Name: program, Mode: 0o755, Size: size, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.CopyN(t, binary, size); err != nil {
		return err
	}
	return t.Close()
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// Documents returns the configuration and the manifest of the image whose
// layer has the given digest and size.
func Documents(diffID string, size int64) (config, manifest []byte, err error) {
	created, revision := built()
	labels := map[string]string{
		"org.opencontainers.image.title":       "berth/hello",
		"org.opencontainers.image.description": "greets and tells what a container sees",
	}
	if revision != "" {
		labels["org.opencontainers.image.revision"] = revision
	}
	config, err = json.Marshal(map[string]any{
		"created":      created.UTC().Format(time.RFC3339),
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config": map[string]any{
			"Entrypoint": []string{"/" + program, Arg},
			"WorkingDir": "/",
			"Labels":     labels,
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{diffID}},
		"history": []map[string]string{
			{"created": created.UTC().Format(time.RFC3339), "created_by": "berth itself", "comment": "a copy of the running binary"},
		},
	})
	if err != nil {
		return nil, nil, err
	}
	sum := sha256.Sum256(config)
	manifest, err = json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        descriptor{"application/vnd.oci.image.config.v1+json", "sha256:" + hex.EncodeToString(sum[:]), int64(len(config))},
		"layers":        []descriptor{{"application/vnd.oci.image.layer.v1.tar", diffID, size}},
	})
	return config, manifest, err
}

// built returns from when and of which revision the binary is, as far as it
// says. Both are the same for every copy of it.
func built() (created time.Time, revision string) {
	created = time.Unix(0, 0)
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return created, ""
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.time":
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
				created = t
			}
		case "vcs.revision":
			revision = s.Value
		}
	}
	return created, revision
}
