package shared

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/state"
	"berth/internal/store"
)

const layoutFile = `{"imageLayoutVersion":"1.0.0"}`

// Prepare makes the folder if it is missing, and tells whether images can be put
// there before anybody has waited for one.
func (s *Store) Prepare() error {
	lock, folder, err := s.enter()
	if err != nil {
		return err
	}
	lock.Close()
	return folder.Close()
}

// enter makes the folder if it is missing, keeps other writers away while lock is
// open, and opens where the blobs are.
func (s *Store) enter() (lock, folder *os.File, err error) {
	if err = os.MkdirAll(s.dir, 0o775); err != nil {
		return nil, nil, err
	}
	if lock, err = s.lock(); err != nil {
		return nil, nil, err
	}
	if folder, err = s.blobs(); err != nil {
		lock.Close()
		return nil, nil, err
	}
	return lock, folder, nil
}

// Add takes in the images of an archive as save writes them. Blobs come first
// and are what they are called, then the list is replaced: whoever reads
// meanwhile sees the old one or the new one. Who may change the folder is the
// folder's own affair: modes, a group with the set-group-ID bit, the umask.
func (s *Store) Add(r io.Reader) error {
	lock, folder, err := s.enter()
	if err != nil {
		return err
	}
	defer lock.Close()
	defer folder.Close()
	blobs := fmt.Sprintf("/proc/self/fd/%d", folder.Fd())
	sweep(blobs)
	var news index
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		digits, isBlob := strings.CutPrefix(h.Name, blobFolder)
		switch {
		case h.Name == "index.json":
			err = json.NewDecoder(io.LimitReader(tr, maxDocument)).Decode(&news)
		case isBlob && h.Typeflag == tar.TypeReg:
			err = addBlob(tr, blobs, digits)
		}
		if err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	return s.list(news.Manifests)
}

// blobs opens the folder of the blobs and makes it when it is missing. Others may
// write to the store: a link that one of them has put in its place would have us
// write, and with our rights, wherever it leads.
func (s *Store) blobs() (*os.File, error) {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var folder *os.File
	if err = root.MkdirAll("blobs/sha256", 0o775); err == nil {
		folder, err = root.OpenFile("blobs/sha256", os.O_RDONLY|unix.O_DIRECTORY, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot write to the image store %s: %w", s.dir, err)
	}
	return folder, nil
}

// lock keeps other writers away. Readers take no lock.
func (s *Store) lock() (*os.File, error) {
	path := filepath.Join(s.dir, ".lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o660)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	return f, nil
}

// addBlob writes a blob under its digest into a folder, unless it is there.
func addBlob(r io.Reader, folder, digits string) error {
	digest := "sha256:" + digits
	if _, ok := store.Hex(digest); !ok {
		return fmt.Errorf("%q is not the name of a blob", digits)
	}
	name := filepath.Join(folder, digits)
	if f, _, err := open(name); err == nil {
		defer f.Close()
		if sum, err := digestOf(f); err == nil && sum == digits {
			return nil
		}
	}
	tmp := filepath.Join(folder, ".new-"+state.Self().String()+"-"+digits)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), r)
	if err == nil && hex.EncodeToString(h.Sum(nil)) != digits {
		err = fmt.Errorf("blob %s is not what it is called", digest)
	}
	if err == nil {
		f.Chmod(0o644) // for all, whatever the umask is
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, name)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

func digestOf(r io.Reader) (string, error) {
	h := sha256.New()
	_, err := io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), err
}

// sweep removes what writers that were killed have left half-written.
func sweep(blobs string) {
	entries, _ := os.ReadDir(blobs)
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), ".new-")
		owner, _, _ := strings.Cut(rest, "-")
		if o, err := state.ParseOwner(owner); ok && err == nil && !o.Alive() {
			os.Remove(filepath.Join(blobs, e.Name()))
		}
	}
}

// list puts entries into the index, in the place of those of the same name and
// platform.
func (s *Store) list(news []store.Descriptor) error {
	news = slices.DeleteFunc(news, func(d store.Descriptor) bool { return d.Annotations[annotationName] == "" })
	if len(news) == 0 {
		return errors.New("only images with a tag can be shared")
	}
	ix, err := s.index()
	if err != nil {
		return err
	}
	for _, d := range news {
		ix.Manifests = slices.DeleteFunc(ix.Manifests, func(old store.Descriptor) bool {
			return old.Annotations[annotationName] == d.Annotations[annotationName] && s.platform(old) == s.platform(d)
		})
		ix.Manifests = append(ix.Manifests, d)
	}
	ix.SchemaVersion, ix.MediaType = 2, store.MediaTypeIndex
	b, err := json.Marshal(ix)
	if err != nil {
		return err
	}
	if err := state.WriteFile(filepath.Join(s.dir, "oci-layout"), []byte(layoutFile), 0o644); err != nil {
		return err
	}
	return state.WriteFile(filepath.Join(s.dir, "index.json"), append(b, '\n'), 0o664)
}

// platform is what an entry is for, as its configuration says: entries need not.
func (s *Store) platform(d store.Descriptor) string {
	var m store.Manifest
	var p store.Platform
	if _, err := s.document(d.Digest, &m); err == nil {
		_, _ = s.document(m.Config.Digest, &p) // without one it is for nothing in particular
	}
	return p.String()
}
