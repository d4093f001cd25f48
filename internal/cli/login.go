package cli

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"berth/internal/cli/term"
	"berth/internal/engine"
	"berth/internal/images"
	"berth/internal/registry/ref"
	"berth/internal/state"
)

// hubKey is the name under which docker keeps the credentials of Docker Hub.
const hubKey = "https://index.docker.io/v1/"

// loginCommand is login. The registry is asked before anything is kept, and the
// credentials lie where the docker client keeps them.
func (a *app) loginCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "login [OPTIONS] [SERVER]", Args: atMost(1),
		Long: "Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.",
	}
	f := c.Flags()
	user := f.StringP("username", "u", "", "Username")
	password := f.StringP("password", "p", "", "Password or Personal Access Token (PAT)")
	fromStdin := f.Bool("password-stdin", false, "Take the Password or Personal Access Token (PAT) from stdin")
	c.RunE = func(c *cobra.Command, args []string) error {
		switch {
		case *fromStdin && *password != "":
			return &failure{code: 1, text: "conflicting options: cannot specify both --password and --password-stdin"}
		case *fromStdin && *user == "":
			return &failure{code: 1, text: "the --password-stdin option requires --username to be set"}
		case *password != "":
			fmt.Fprintln(a.env.Stderr, "WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
		}
		return a.login(c.Context(), registryKey(args), *user, *password, *fromStdin)
	}
	return c
}

// login tries an account at a registry and keeps it.
func (a *app) login(ctx context.Context, server, user, password string, fromStdin bool) error {
	opt := images.LoginOptions{Server: server, Username: user, Password: password}
	if server == hubKey {
		opt.Server = ref.DefaultDomain
	}
	var e *engine.Engine
	try := func() (res images.LoginResult, err error) {
		if e == nil {
			if e, err = a.openToPull(); err != nil {
				return res, err
			}
		}
		ctx, g := a.watch(ctx)
		defer g.stop()
		res, err = e.Images().Login(ctx, opt)
		if left := g.leave(); left != nil {
			return res, left
		}
		return res, err
	}
	if user == "" && password == "" {
		old, err := try()
		switch {
		case err == nil:
			return a.println("Authenticating with existing credentials... [Username: " + old.Username + "]\n\nLogin Succeeded")
		case !errors.Is(err, engine.ErrNotFound) && !term.IsTerminal(a.env.Stdin):
			return err
		case !errors.Is(err, engine.ErrNotFound):
			fmt.Fprintf(a.env.Stderr, "Login did not succeed, error: %v\n", err)
		}
	}
	if err := a.askCredentials(&opt.Username, &opt.Password, fromStdin); err != nil {
		return err
	}
	res, err := try()
	if err != nil {
		return err
	}
	path, err := a.keepCredentials(server, opt.Username, opt.Password, res.IdentityToken)
	if err != nil {
		return err
	}
	if path != "" {
		fmt.Fprintf(a.env.Stderr, "\nWARNING! Your credentials are stored unencrypted in '%s'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n\n", path)
	}
	return a.println("Login Succeeded")
}

// logoutCommand is logout.
func (a *app) logoutCommand() *cobra.Command {
	c := &cobra.Command{Use: "logout [SERVER]", Args: atMost(1)}
	c.RunE = func(c *cobra.Command, args []string) error {
		server := registryKey(args)
		if err := a.println("Removing login credentials for " + server); err != nil {
			return err
		}
		return a.changeConfig(func(conf map[string]json.RawMessage) error {
			if helper := helperFor(conf, server); helper != "" {
				return runHelper(helper, "erase", server)
			}
			auths, err := authsOf(conf)
			if err != nil {
				return err
			}
			delete(auths, server)
			return setAuths(conf, auths)
		})
	}
	return c
}

// registryKey is the name under which a registry's credentials are kept.
func registryKey(args []string) string {
	if len(args) == 0 {
		return hubKey
	}
	server := strings.TrimPrefix(strings.TrimPrefix(args[0], "https://"), "http://")
	server, _, _ = strings.Cut(server, "/")
	switch server {
	case "docker.io", "index.docker.io", "registry-1.docker.io":
		return hubKey
	}
	return server
}

// askCredentials completes what the options leave open.
func (a *app) askCredentials(user, password *string, fromStdin bool) error {
	in := bufio.NewReader(a.env.Stdin)
	if fromStdin {
		all, err := io.ReadAll(in)
		*password = strings.TrimSuffix(strings.TrimSuffix(string(all), "\n"), "\r")
		if err == nil && *password == "" {
			err = errors.New("password is empty")
		}
		return err
	}
	if (*user == "" || *password == "") && !term.IsTerminal(a.env.Stdin) {
		return errors.New("cannot perform an interactive login from a non TTY device: use --username and --password-stdin")
	}
	ask := func(prompt string, into *string) error {
		fmt.Fprint(a.env.Stdout, prompt)
		line, err := in.ReadString('\n')
		*into = strings.TrimSpace(line)
		if err == nil && *into == "" {
			err = fmt.Errorf("%s required", strings.ToLower(strings.TrimSuffix(prompt, ": ")))
		}
		return err
	}
	if *user == "" {
		if err := ask("Username: ", user); err != nil {
			return err
		}
	}
	if *password != "" {
		return nil
	}
	err := term.NoEcho(a.env.Stdin, func() error { return ask("Password: ", password) })
	fmt.Fprintln(a.env.Stdout)
	return err
}

// keepCredentials writes them to the settings, whose path it returns, or hands
// them to the program that the settings name for it. An identity token takes
// the place of the password.
func (a *app) keepCredentials(server, user, password, identity string) (path string, err error) {
	dir, err := a.configDir()
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "config.json")
	err = a.changeConfig(func(conf map[string]json.RawMessage) error {
		if helper := helperFor(conf, server); helper != "" {
			path = ""
			entry := map[string]string{"ServerURL": server, "Username": user, "Secret": password}
			if identity != "" {
				entry["Username"], entry["Secret"] = "<token>", identity
			}
			secret, err := json.Marshal(entry)
			if err != nil {
				return err
			}
			return runHelper(helper, "store", string(secret))
		}
		auths, err := authsOf(conf)
		if err != nil {
			return err
		}
		entry := map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))}
		if identity != "" {
			entry = map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":")), "identitytoken": identity}
		}
		if auths[server], err = json.Marshal(entry); err != nil {
			return err
		}
		return setAuths(conf, auths)
	})
	return path, err
}

// changeConfig changes ~/.docker/config.json and leaves alone all it does not
// know.
func (a *app) changeConfig(change func(conf map[string]json.RawMessage) error) error {
	dir, err := a.configDir()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "config.json")
	conf := map[string]json.RawMessage{}
	err = state.ReadJSON(path, &conf)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := change(conf); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	b, err := json.MarshalIndent(conf, "", "\t")
	if err != nil {
		return err
	}
	return state.WriteFile(path, append(b, '\n'), 0o600)
}

func authsOf(conf map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	auths := map[string]json.RawMessage{}
	if raw, ok := conf["auths"]; ok {
		if err := json.Unmarshal(raw, &auths); err != nil {
			return nil, fmt.Errorf("cannot read the auths of config.json: %w", err)
		}
	}
	return auths, nil
}

func setAuths(conf map[string]json.RawMessage, auths map[string]json.RawMessage) error {
	raw, err := json.Marshal(auths)
	conf["auths"] = raw
	return err
}

// helperFor is the program that keeps the credentials of a registry.
func helperFor(conf map[string]json.RawMessage, server string) string {
	var helpers map[string]string
	var store string
	_ = json.Unmarshal(conf["credHelpers"], &helpers)
	_ = json.Unmarshal(conf["credsStore"], &store)
	if h := helpers[server]; h != "" {
		return h
	}
	return store
}

func runHelper(name, verb, input string) error {
	cmd := exec.Command("docker-credential-"+name, verb)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("docker-credential-%s %s: %w: %s", name, verb, err, strings.TrimSpace(string(out)))
	}
	return nil
}
