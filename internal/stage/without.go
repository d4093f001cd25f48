//go:build !stages

package stage

const shim, shimSum, pull, pullSum = "", "", "", ""
