// Package oci holds `berth oci` against others' expectations of an OCI runtime:
// the validation suite of opencontainers/runtime-tools, and the engines that
// drive runtimes, podman, containerd and docker, each with all of its state in
// a place of its own.
//
// The tests call a symbolic link named runc, as the engines do. To see what
// another runtime makes of them:
//
//	BERTH_TEST_PROGRAM=/usr/sbin/runc go test ./test/oci -v
package oci
