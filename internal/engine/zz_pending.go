package engine

// Temporary: replaced piece by piece by the real files of this package.

import (
	"context"

	"github.com/moby/moby/api/types/volume"

	"berth/internal/store"
)

type VolumeCreateOptions struct {
	Name, Driver       string
	DriverOpts, Labels map[string]string
}

func (e *Engine) VolumeCreate(ctx context.Context, o VolumeCreateOptions) (volume.Volume, error) {
	panic("pending")
}

func (e *Engine) imageFor(ctx context.Context, refName, platform, pullPolicy string, progress Progress) (store.Image, error) {
	return e.images.Find(refName)
}

func ExplainUserns(err error) error { return err }

func (e *Engine) seccompProgram(text string, caps []string) ([]byte, error) { return []byte{6,0,0,0,0,0,255,127}, nil }
func fakeRoot(arch string) []byte { return []byte{6, 0, 0, 0, 0, 0, 255, 127} }
