package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// view is a container as `state` and `list` print it: the specification's
// state with what runc adds.
type view struct {
	Version     string               `json:"ociVersion"`
	ID          string               `json:"id"`
	Pid         int                  `json:"pid"`
	Status      specs.ContainerState `json:"status"`
	Bundle      string               `json:"bundle"`
	Rootfs      string               `json:"rootfs"`
	Created     time.Time            `json:"created"`
	Annotations map[string]string    `json:"annotations,omitempty"`
	Owner       string               `json:"owner"`
}

func (c *container) view() view {
	s := c.ociState(c.status())
	return view{
		Version: s.Version, ID: s.ID, Pid: s.Pid, Status: s.Status, Bundle: s.Bundle,
		Rootfs: c.Rootfs, Created: c.Created, Annotations: s.Annotations,
	}
}

func stateVerb() *verb {
	v := &verb{name: "state", words: "<container-id>", min: 1, max: 1, help: "print the state of a container"}
	v.run = func(a *app, words []string) error {
		c, err := a.load(words[0])
		if err != nil {
			return err
		}
		out, err := json.MarshalIndent(c.view(), "", "  ")
		if err != nil {
			return err
		}
		_, err = a.Stdout.Write(out)
		return err
	}
	return v
}

func listVerb() *verb {
	format, quiet := "table", false
	v := &verb{name: "list", max: 0, help: "list the containers below --root"}
	v.options.text(&format, "format,f", "FORMAT", "'table' or 'json' (default: table)")
	v.options.toggle(&quiet, "quiet,q", "IDs only")
	v.run = func(a *app, _ []string) error {
		all, err := a.all()
		if err != nil {
			return err
		}
		switch {
		case quiet:
			for _, v := range all {
				fmt.Fprintln(a.Stdout, v.ID)
			}
			return nil
		case format == "json":
			return json.NewEncoder(a.Stdout).Encode(all)
		case format != "table":
			return fmt.Errorf("invalid format option")
		}
		w := tabwriter.NewWriter(a.Stdout, 12, 1, 3, ' ', 0)
		fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
		for _, v := range all {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", v.ID, v.Pid, v.Status, v.Bundle, v.Created.Format(time.RFC3339Nano), v.Owner)
		}
		return w.Flush()
	}
	return v
}

// all returns every container, sorted by ID. One that goes meanwhile is left
// out; one whose record cannot be read is said.
func (a *app) all() ([]view, error) {
	a.sweep()
	entries, err := os.ReadDir(a.root)
	if os.IsNotExist(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	names := map[int]string{}
	var all []view
	for _, e := range entries {
		if !e.IsDir() || validID(e.Name()) != nil {
			continue
		}
		c, err := a.load(e.Name())
		if err == errNotExist {
			continue
		} else if err != nil {
			a.log.warningf("%v", err)
			continue
		}
		v := c.view()
		if _, ok := names[c.UID]; !ok {
			names[c.UID] = owner(c.UID)
		}
		v.Owner = names[c.UID]
		all = append(all, v)
	}
	slices.SortFunc(all, func(x, y view) int { return strings.Compare(x.ID, y.ID) })
	return all, nil
}

// owner is the account's name, or "#" and its number.
func owner(uid int) string {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return "#" + strconv.Itoa(uid)
	}
	return u.Username
}
