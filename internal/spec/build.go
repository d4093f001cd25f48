package spec

import (
	"errors"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Build translates a container. The warnings are sentences for the person who
// asked.
func Build(in Input) (*specs.Spec, []string, error) {
	return nil, nil, errors.New("spec: in the making")
}

// BuildProcess describes one more program for a running container.
func BuildProcess(in Input, exec ExecRequest) (*specs.Process, error) {
	return nil, errors.New("spec: in the making")
}

// Validate checks a request before anything is made for it.
func Validate(cfg *container.Config, hc *container.HostConfig) error { return nil }

// Seccomp profiles that are not JSON.
const (
	SeccompUnconfined = "unconfined"
	SeccompDefault    = "builtin"
)

// SeccompProfile says which system call filter a container gets:
// [SeccompUnconfined], [SeccompDefault] or the text of a profile.
func SeccompProfile(hc *container.HostConfig, host Host) (string, error) {
	return SeccompDefault, nil
}
