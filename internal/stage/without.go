//go:build !stages

package stage

const shim, shimSum, remote, remoteSum, oci, ociSum = "", "", "", "", "", ""
