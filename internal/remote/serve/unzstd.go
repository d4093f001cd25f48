package serve

import (
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// maxWindow is how far back a zstd stream may refer: what the tool itself takes
// without being told. A stream that asks for more asks for memory.
const maxWindow = 128 << 20

// unzstd unpacks a stream for a program that does not have the decoder, and
// returns the exit code: 0 only if all of it was right.
func unzstd(in io.Reader, out io.Writer) int {
	z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxWindow(maxWindow))
	if err == nil {
		defer z.Close()
		_, err = io.Copy(out, z)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
