// Mkimage makes the test images and pushes them to a registry:
//
//	docker-registry serve CONFIG &
//	go run ./test/images/mkimage http://127.0.0.1:5000 CACHEDIR
package main

import (
	"fmt"
	"os"

	"berth/test/images"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: mkimage REGISTRY-URL CACHE-FOLDER")
		os.Exit(2)
	}
	if err := images.PushAll(os.Args[1], os.Args[2], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}
