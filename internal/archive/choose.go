package archive

import (
	"fmt"
	"slices"

	"berth/internal/registry/platform"
	"berth/internal/registry/ref"
	"berth/internal/store"
)

// PlatformError says that an image is there, but for another platform.
type PlatformError struct {
	Name       string
	Have, Want platform.Platform
}

func (e *PlatformError) Error() string {
	return fmt.Sprintf("image with reference %s was found but its platform (%s) does not match the specified platform (%s)", e.Name, e.Have, e.Want)
}

// Fits checks that an image, asked for by name, is for a platform; empty is
// any.
func Fits(img store.Image, name, platformName string) error {
	if platformName == "" {
		return nil
	}
	want, err := platform.Parse(platformName)
	if err != nil {
		return err
	}
	p := img.Platform()
	if have := platform.New(p.OS, p.Architecture, p.Variant); want.Fit(have) == 0 {
		return &PlatformError{Name: name, Have: have, Want: want}
	}
	return nil
}

// Choose finds what words on the command line of save stand for, each image
// once. A name without a tag stands for all tags of its repository. Errors are
// those of [store.Store.Find] and of [Fits].
func Choose(s *store.Store, word, platformName string, chosen []Chosen) ([]Chosen, error) {
	r, err := ref.ParseName(word)
	if err == nil && r.Tag == "" && r.Digest == "" {
		images, err := s.Images()
		if err != nil {
			return nil, err
		}
		found := false
		for _, img := range images {
			names := slices.DeleteFunc(slices.Clone(img.Names), func(n string) bool { return repository(n) != r.Name() })
			if len(names) > 0 && Fits(img, word, platformName) == nil {
				chosen, found = merge(chosen, Chosen{img, names}), true
			}
		}
		if found {
			return chosen, nil
		}
	}
	img, err := s.Find(word)
	if err == nil {
		err = Fits(img, word, platformName)
	}
	if err != nil {
		return nil, err
	}
	c := Chosen{Image: img}
	if r, err := ref.Parse(word); err == nil && r.Digest == "" && slices.Contains(img.Names, r.String()) {
		c.Names = []string{r.String()}
	}
	return merge(chosen, c), nil
}

func repository(name string) string {
	r, err := ref.ParseName(name)
	if err != nil {
		return ""
	}
	return r.Name()
}

// merge adds an image to those chosen before, or its names to it.
func merge(chosen []Chosen, c Chosen) []Chosen {
	for i := range chosen {
		if chosen[i].Image.ID == c.Image.ID {
			chosen[i].Names = slices.Compact(slices.Sorted(slices.Values(slices.Concat(chosen[i].Names, c.Names))))
			return chosen
		}
	}
	return append(chosen, c)
}
