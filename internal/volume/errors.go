package volume

import (
	"fmt"
	"strings"
)

// wrapError puts words before an error and keeps its kind. Nil stays nil.
func wrapError(words string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", strings.TrimSpace(words), err)
}
