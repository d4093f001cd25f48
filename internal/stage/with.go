//go:build stages

package stage

import _ "embed"

// What `make build` has put here.
var (
	//go:embed berth-shim
	shim string
	//go:embed berth-shim.sum
	shimSum string
	//go:embed berth-remote
	remote string
	//go:embed berth-remote.sum
	remoteSum string
	//go:embed berth-net
	net string
	//go:embed berth-net.sum
	netSum string
	//go:embed berth-oci
	oci string
	//go:embed berth-oci.sum
	ociSum string
)
