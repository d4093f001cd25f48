package engine

// Temporary: replaced piece by piece by the real files of this package.

import (
	"context"

	"berth/internal/store"
)

func (e *Engine) imageFor(ctx context.Context, refName, platform, pullPolicy string, progress Progress) (store.Image, error) {
	return e.images.Find(refName)
}


func (e *Engine) seccompProgram(text string, caps []string) ([]byte, error) { return []byte{6,0,0,0,0,0,255,127}, nil }
func fakeRoot(arch string) []byte { return []byte{6, 0, 0, 0, 0, 0, 255, 127} }
