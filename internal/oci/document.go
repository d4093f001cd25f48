package oci

import (
	"encoding/json"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// document is a configuration without the sections for other systems. What is
// decoded once in the life of a process costs what encoding/json prepares for
// every type that could occur: those sections are a third of the types, and
// would take longer than all system calls of an exec.
type document struct {
	Version     string            `json:"ociVersion"`
	Process     *specs.Process    `json:"process"`
	Root        *specs.Root       `json:"root"`
	Hostname    string            `json:"hostname"`
	Domainname  string            `json:"domainname"`
	Mounts      []specs.Mount     `json:"mounts"`
	Hooks       *specs.Hooks      `json:"hooks"`
	Annotations map[string]string `json:"annotations"`
	Linux       *specs.Linux      `json:"linux"`
}

// parseSpec decodes a config.json.
func parseSpec(data []byte) (*specs.Spec, error) {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, err
	}
	return &specs.Spec{
		Version: d.Version, Process: d.Process, Root: d.Root, Hostname: d.Hostname, Domainname: d.Domainname,
		Mounts: d.Mounts, Hooks: d.Hooks, Annotations: d.Annotations, Linux: d.Linux,
	}, nil
}
