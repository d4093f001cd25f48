package images

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// PushServices makes images of servers and pushes them to the registry at base:
// test/postgres, test/redis and test/nginx, with Debian's programs, and entry
// points that switch users as those of the images of these names do.
func PushServices(base, cache string, log io.Writer) error {
	minbase, _, err := debianLayers(cache, log)
	if err != nil {
		return err
	}
	programs, err := servicesLayer(cache, minbase, log)
	if err != nil {
		return err
	}
	for name, s := range services() {
		image := Image{
			Config: Config{Env: []string{path}, Entrypoint: []string{"/entry"}, Cmd: s.command},
			Layers: []Layer{minbase, programs, GzipLayer(Tar(append(s.more, Entry{Name: "entry", Body: s.entry, Mode: 0o755})...))},
		}
		if err := Push(base, "test/"+name, "latest", image); err != nil {
			return fmt.Errorf("image test/%s: %w", name, err)
		}
	}
	return nil
}

type service struct {
	entry   string
	command []string
	more    []Entry
}

func services() map[string]service {
	return map[string]service{
		"postgres": {command: []string{"postgres"}, more: []Entry{{Name: "run/postgresql/", Mode: 0o3777}}, entry: `#!/bin/bash
# Root gives the folder away and becomes postgres, who makes a database.
set -e
export PGDATA=/var/lib/postgresql/data PATH=/usr/lib/postgresql/15/bin:$PATH
if [ "$(id -u)" = 0 ]; then
	mkdir -p "$PGDATA" /run/postgresql
	chown -R postgres:postgres "$PGDATA" /run/postgresql
	chmod 700 "$PGDATA"
	exec gosu postgres "$0" "$@"
fi
[ -s "$PGDATA/PG_VERSION" ] || initdb -A trust --no-sync >/dev/null
exec "$@"
`},
		"redis": {command: []string{"redis-server", "--dir", "/data"}, more: []Entry{{Name: "data/"}}, entry: `#!/bin/sh
# Root gives its folder away and becomes redis.
set -e
cd /data
if [ "$(id -u)" = 0 ]; then
	find . \! -user redis -exec chown redis '{}' +
	exec setpriv --reuid=redis --regid=redis --clear-groups "$0" "$@"
fi
exec "$@"
`},
		"nginx": {command: []string{"nginx", "-g", "daemon off;"}, entry: `#!/bin/sh
# The logs go to the standard streams; the workers are somebody else's.
set -e
mkdir -p /var/log/nginx
ln -sf /dev/stdout /var/log/nginx/access.log
ln -sf /dev/stderr /var/log/nginx/error.log
exec "$@"
`},
	}
}

// servicesLayer returns the layer that the servers' packages add to a minimal
// Debian.
func servicesLayer(cache string, minbase Layer, log io.Writer) (Layer, error) {
	if l, err := readLayer(cache, "services"); err == nil {
		return l, nil
	}
	work, err := os.MkdirTemp(cache, "services")
	if err != nil {
		return Layer{}, err
	}
	defer os.RemoveAll(work)
	one, two := filepath.Join(work, "minbase"), filepath.Join(work, "services")
	fmt.Fprintln(log, "images: apt-get installs postgresql, redis, nginx and gosu into a minimal Debian (a minute or two, kept for later runs)")
	// The cached layer lacks what is not packed: devices, and how to find the
	// network.
	const prepare = `set -e
mkdir "$1"; tar -xpzf "$0" -C "$1"; cp -a "$1" "$2"; cd "$2"
cp /etc/resolv.conf etc/
mknod -m 666 dev/null c 1 3; mknod -m 666 dev/zero c 1 5; mknod -m 666 dev/urandom c 1 9; mknod -m 666 dev/random c 1 8
mkdir -p var/log/apt etc/postgresql-common usr/share/man/man1 usr/share/man/man7
printf '#!/bin/sh\nexit 101\n' >usr/sbin/policy-rc.d; chmod 755 usr/sbin/policy-rc.d
echo 'create_main_cluster = false' >etc/postgresql-common/createcluster.conf`
	if err := quiet("sh", "-c", prepare, minbase.Blob.file, one, two); err != nil {
		return Layer{}, err
	}
	const install = "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends postgresql-15 redis-server nginx-light gosu"
	if err := quiet("chroot", two, "sh", "-c", install); err != nil {
		return Layer{}, err
	}
	return writeLayer(cache, "services", two, one, 4, func(rel string) bool {
		// Postgres compiles queries with these, if they are there.
		return unwanted(rel) || strings.Contains(rel, "/libLLVM-") || strings.Contains(rel, "/libz3.so")
	})
}
