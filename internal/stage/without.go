//go:build !shim

package stage

const program, sum = "", ""
