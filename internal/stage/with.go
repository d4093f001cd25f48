//go:build shim

package stage

import _ "embed"

// What `make build` has put here.
var (
	//go:embed berth-shim
	program string
	//go:embed berth-shim.sum
	sum string
)
