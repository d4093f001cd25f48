//go:build !stages

package stage

const shim, shimSum, remote, remoteSum, net, netSum, oci, ociSum = "", "", "", "", "", "", "", ""
