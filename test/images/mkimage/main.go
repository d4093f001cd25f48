// Mkimage makes the test images and pushes them to a registry:
//
//	docker-registry serve CONFIG &
//	go run ./test/images/mkimage http://127.0.0.1:5000 CACHEDIR [STORAGE]
//
// With STORAGE, the folder where that registry keeps things, it makes the big
// images of the benchmark instead.
package main

import (
	"fmt"
	"os"

	"berth/test/images"
)

func main() {
	if len(os.Args) != 3 && len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: mkimage REGISTRY-URL CACHE-FOLDER [STORAGE-FOLDER]")
		os.Exit(2)
	}
	push := func() error { return images.PushAll(os.Args[1], os.Args[2], os.Stderr) }
	if len(os.Args) == 4 {
		push = func() error { return images.PushBig(os.Args[1], os.Args[3], os.Args[2], os.Stderr) }
	}
	if err := push(); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}
