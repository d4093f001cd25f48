package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"berth/internal/cli/term"
)

// clientConfig is what we read of ~/.docker/config.json.
type clientConfig struct {
	DetachKeys     string                       `json:"detachKeys"`
	PsFormat       string                       `json:"psFormat"`
	StatsFormat    string                       `json:"statsFormat"`
	ImagesFormat   string                       `json:"imagesFormat"`
	VolumesFormat  string                       `json:"volumesFormat"`
	NetworksFormat string                       `json:"networksFormat"`
	Proxies        map[string]map[string]string `json:"proxies"`
}

// clientConfig reads the settings of the docker client, once. Damaged ones are
// no reason to do nothing.
func (a *app) clientConfig() *clientConfig {
	if a.client == nil {
		a.client = a.readClientConfig()
	}
	return a.client
}

func (a *app) readClientConfig() *clientConfig {
	c := &clientConfig{}
	dir, err := a.configDir()
	if err != nil {
		return c
	}
	path := filepath.Join(dir, "config.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return c
	}
	if err == nil {
		err = json.Unmarshal(b, c)
	}
	if err != nil {
		a.warn(fmt.Sprintf("Error loading config file: %s: %v", path, err))
	}
	return c
}

// detachKeys returns the sequence that leaves a program: the option's, the
// settings', or the usual one. An empty option turns it off.
func (a *app) detachKeys(f *pflag.Flag) ([]byte, error) {
	if f.Changed {
		return term.ParseKeys(f.Value.String())
	}
	if keys := a.clientConfig().DetachKeys; keys != "" {
		return term.ParseKeys(keys)
	}
	return term.ParseKeys(term.DefaultKeys)
}
