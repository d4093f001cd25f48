package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// credential is what is stored for one registry. At most one of password,
// identity and token is used, the last first.
type credential struct {
	user     string
	password string
	identity string // exchanged for tokens, in place of a password
	token    string // sent as it is
}

func (c credential) empty() bool { return c == credential{} }

// hubKey is the name under which Docker stores the account at Docker Hub.
const hubKey = "https://index.docker.io/v1/"

// credentialFile is Docker's config.json, read when the first registry asks
// who we are.
type credentialFile struct {
	dir  string
	once sync.Once
	err  error
	doc  struct {
		Auths       map[string]authEntry `json:"auths"`
		CredHelpers map[string]string    `json:"credHelpers"`
		CredsStore  string               `json:"credsStore"`
	}
}

type authEntry struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

func (f *credentialFile) load() {
	dir := f.dir
	if dir == "" {
		dir = os.Getenv("DOCKER_CONFIG")
	}
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return
		}
		dir = filepath.Join(home, ".docker")
	}
	path := filepath.Join(dir, "config.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return
	}
	if err == nil && len(bytes.TrimSpace(b)) > 0 {
		err = json.Unmarshal(b, &f.doc)
	}
	if err != nil {
		f.err = fmt.Errorf("cannot read credentials in %s: %w", path, err)
	}
}

// lookup returns what is stored for a server (a registry's domain), which may
// be nothing. An error says why something stored could not be had.
func (f *credentialFile) lookup(ctx context.Context, server string) (credential, error) {
	f.once.Do(f.load)
	if f.err != nil {
		return credential{}, f.err
	}
	keys := serverKeys(server)
	helper := f.doc.CredsStore
	for _, k := range keys {
		if h := f.doc.CredHelpers[k]; h != "" {
			helper = h
			break
		}
	}
	var helperErr error
	if helper != "" {
		var c credential
		if c, helperErr = askHelper(ctx, helper, keys[0]); !c.empty() {
			return c, nil
		}
	}
	if e, ok := f.entry(keys); ok {
		c, err := e.credential()
		if err != nil {
			return c, fmt.Errorf("the stored credential for %s is damaged: %w", server, err)
		}
		if !c.empty() {
			return c, nil
		}
	}
	return credential{}, helperErr
}

// serverKeys returns the names a server's credential may be stored under, the
// proper one first.
func serverKeys(server string) []string {
	if server == "docker.io" {
		return []string{hubKey, "docker.io", "index.docker.io", "registry-1.docker.io"}
	}
	return []string{server}
}

func (f *credentialFile) entry(keys []string) (authEntry, bool) {
	for _, k := range keys {
		if e, ok := f.doc.Auths[k]; ok {
			return e, true
		}
	}
	// Older clients stored whole addresses.
	for name, e := range f.doc.Auths {
		host := strings.TrimPrefix(strings.TrimPrefix(name, "https://"), "http://")
		host, _, _ = strings.Cut(host, "/")
		for _, k := range keys {
			if host == k {
				return e, true
			}
		}
	}
	return authEntry{}, false
}

func (e authEntry) credential() (credential, error) {
	c := credential{user: e.Username, password: e.Password, identity: e.IdentityToken, token: e.RegistryToken}
	if e.Auth == "" {
		return c, nil
	}
	b, err := base64.StdEncoding.DecodeString(e.Auth)
	if err != nil {
		return credential{}, errors.New("not base64")
	}
	user, password, ok := strings.Cut(string(b), ":")
	if !ok || user == "" {
		return credential{}, errors.New("no user name in it")
	}
	c.user, c.password = user, strings.TrimRight(password, "\x00")
	return c, nil
}

// askHelper asks a credential helper, docker-credential-NAME, which gets a
// server's name on standard input and answers in JSON.
func askHelper(ctx context.Context, name, server string) (credential, error) {
	program := "docker-credential-" + name
	if strings.ContainsRune(name, os.PathSeparator) {
		return credential{}, fmt.Errorf("credential helper %q has an invalid name", name)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "get")
	cmd.Stdin = strings.NewReader(server)
	cmd.WaitDelay = time.Second
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		said := oneLine(out.String() + " " + errOut.String())
		if strings.Contains(said, "credentials not found") {
			return credential{}, nil
		}
		if said == "" {
			said = err.Error()
		}
		return credential{}, fmt.Errorf("credential helper %s failed: %s", program, said)
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		return credential{}, fmt.Errorf("credential helper %s gave no JSON", program)
	}
	if answer.Username == "<token>" {
		return credential{user: answer.Username, identity: answer.Secret}, nil
	}
	return credential{user: answer.Username, password: answer.Secret}, nil
}
