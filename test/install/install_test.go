package install

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/test/lab"
)

// patience is for downloads and the work of dpkg on a busy machine.
const patience = 6 * time.Minute

// cases are what is installed and how it shows that it works. Packages of one
// case go into one container.
var cases = []struct {
	packages string
	checks   []string // in a shell as root of the container, each must succeed
	// user is whom a service runs as that refuses to run as root, or should
	// not; asUser is checked in a container of his, made from this one.
	user, asUser string
}{
	{packages: "", checks: []string{ // what a minimal system has
		"apt-get -v",
		"useradd -m ann && su ann -c 'echo $HOME' | grep -qx /home/ann",
		"groupadd staff2 && usermod -aG staff2 ann && chgrp staff2 /home/ann",
		"chown -R ann:ann /home/ann && chmod 2755 /home/ann && chown 33:33 /home/ann/.profile",
		"install -o www-data -g www-data -m 640 /etc/passwd /tmp/copy && test $(stat -c %a /tmp/copy) = 640",
		"mkdir /tmp/t && tar -C /etc -cf /tmp/t.tar --owner=1234 --group=5678 passwd && tar -C /tmp/t -xpf /tmp/t.tar && cmp /etc/passwd /tmp/t/passwd",
		"mknod /tmp/pipe p && test -p /tmp/pipe",
		"perl -e '$) = \"33 33\"; $> = 33; exit 0'",
		"passwd -d root && echo root:secret | chpasswd",
		"touch /tmp/w && dpkg-statoverride --update --add root tty 2755 /tmp/w && test $(stat -c %a /tmp/w) = 2755",
	}},
	{packages: "openssh-server sudo", checks: []string{"mkdir -p /run/sshd && sshd -t", "test $(sudo id -u) = 0", "sudo -u nobody true", "ssh-keygen -q -N '' -f /tmp/key"}},
	{packages: "systemd dbus man-db", checks: []string{"systemctl --version", "systemd-tmpfiles --create --prefix=/tmp", "dbus-daemon --version", "systemd-sysusers"}},
	{
		packages: "postgresql",
		checks:   []string{"psql --version", "pg_lsclusters", "test -x /usr/lib/postgresql/15/bin/initdb"},
		user:     "postgres",
		asUser: "cd /tmp && PATH=$PATH:/usr/lib/postgresql/15/bin && test $(id -un) = postgres && initdb -D d && " +
			"pg_ctl -D d -o '-k /tmp -c listen_addresses=' -w start && psql -h /tmp -tc 'select 6*7' postgres | grep -q 42 && pg_ctl -D d -m fast stop",
	},
	{packages: "mariadb-server", checks: []string{
		"mariadbd --user=root --datadir=/var/lib/mysql --skip-networking --socket=/tmp/my.sock --pid-file=/tmp/my.pid & " +
			"for i in $(seq 100); do mariadb -S /tmp/my.sock -e 'select 6*7' 2>/dev/null | grep -q 42 && break; sleep 0.3; done; " +
			"mariadb -S /tmp/my.sock -e 'select 6*7' | grep -q 42 && mariadb-admin -S /tmp/my.sock shutdown"}},
	{ // in the host's network, where ports below 1024 are not an account's
		packages: "nginx-light curl",
		checks:   []string{"sed -i 's/80 default_server/18345 default_server/' /etc/nginx/sites-enabled/default && nginx -t && nginx && curl -fs http://127.0.0.1:18345/ | grep -q nginx && nginx -s stop"},
		user:     "www-data",
		asUser: "cd /tmp && echo 'pid /tmp/p; error_log /tmp/e; events {} http { access_log off; client_body_temp_path b; proxy_temp_path b; fastcgi_temp_path b; " +
			"uwsgi_temp_path b; scgi_temp_path b; server { listen 18347; return 200 fine; } }' > n.conf && " +
			"nginx -p /tmp -c n.conf && curl -fs http://127.0.0.1:18347/ | grep -q fine && nginx -p /tmp -c n.conf -s stop",
	},
	{
		packages: "redis-server",
		checks:   []string{"redis-server --port 18346 --daemonize yes && redis-cli -p 18346 set a b | grep -q OK && redis-cli -p 18346 shutdown nosave"},
		user:     "redis",
		asUser: "cd /tmp && test $(id -un) = redis && redis-server --port 18348 --daemonize yes && redis-cli -p 18348 set a b | grep -q OK && " +
			"redis-cli -p 18348 shutdown save && test $(stat -c %U /tmp/dump.rdb) = redis",
	},
	{packages: "build-essential cmake", checks: []string{`printf 'int main(void){return 42;}' > /tmp/a.c && cd /tmp && make a && { ./a || test $? = 42; }`, "g++ --version", "cmake --version"}},
	{packages: "ffmpeg", checks: []string{"ffmpeg -v error -f lavfi -i testsrc=d=0.2 -f null -"}},
	{packages: "python3-pip python3-venv", checks: []string{"pip --version", "python3 -m venv /tmp/v && /tmp/v/bin/python -c 'print(1)'", "python3 -c 'import os; os.chown(\"/tmp\", 1, 1); os.setgid(33); os.setuid(33)'"}},
	{packages: "git rsync tmux vim-tiny less iputils-ping acl libcap2-bin gosu cron rsyslog munge locales tzdata", checks: []string{
		"git init -q /tmp/r && cd /tmp/r && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x && git clone -q /tmp/r /tmp/r2",
		"rsync -a --chown=33:33 /etc/apt/ /tmp/copied/ && test -d /tmp/copied/apt.conf.d",
		"tmux -L t new-session -d 'sleep 5' && tmux -L t kill-server",
		"vim.tiny --version",
		"ping -V",
		"gosu nobody true",
		"crontab -l 2>&1 | grep -q 'no crontab' && echo '0 0 * * * true' | crontab - && crontab -l | grep -q true",
		"rsyslogd -N1",
		"munged --version && test -f /etc/munge/munge.key",
		"echo 'en_US.UTF-8 UTF-8' > /etc/locale.gen && locale-gen | grep -q done",
		"ln -sf /usr/share/zoneinfo/Europe/Berlin /etc/localtime && date",
	}},
	{packages: "dnf rpm createrepo-c", checks: []string{makeRPM, installRPM}},
}

// makeRPM packs a package of the kind that distributions with rpm have: a user
// made before, files that belong to it, a program with rights of its own.
const makeRPM = `
mkdir -p /tmp/rpm/repo && cd /tmp/rpm && cat > its.spec <<'END'
Name: its
Version: 1
Release: 1
Summary: a service with a user of its own
License: none
BuildArch: noarch
Provides: /bin/sh
%description
none
%install
mkdir -p %{buildroot}/var/lib/its %{buildroot}/usr/bin
echo data > %{buildroot}/var/lib/its/data
echo '#!/bin/sh' > %{buildroot}/usr/bin/its
%pre
useradd -r its-user || exit 1
%post
chown its-user /var/lib/its/data || exit 1
%files
%attr(0640,games,games) /var/lib/its/data
%attr(4755,root,root) /usr/bin/its
END
rpmbuild -bb --define '_rpmdir /tmp/rpm/repo' its.spec && createrepo_c /tmp/rpm/repo`

const installRPM = `
dnf -y --disablerepo='*' --repofrompath=its,/tmp/rpm/repo --nogpgcheck --releasever=1 install its &&
test "$(stat -c %a /var/lib/its/data)" = 640 && test -u /usr/bin/its && rpm -q its && getent passwd its-user`

func TestInstall(t *testing.T) {
	lab.Account(t, func(t *testing.T, l *lab.Lab) {
		p := l.Place(t, t.TempDir())
		base(t, p)
		before, err := os.Stat(filepath.Join(p.Home, "own"))
		if err != nil {
			t.Fatal(err)
		}
		t.Run("apt", func(t *testing.T) { all(t, p) })
		if after, err := os.Stat(filepath.Join(p.Home, "own")); err != nil || after.Mode() != before.Mode() {
			t.Errorf("the account's folder is changed: %v, %v", after, err)
		}
		if left := p.Clean(); len(left) > 0 {
			t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
		}
	})
}

// all runs the cases, two at a time: half of what they do is waiting.
func all(t *testing.T, p *lab.Place) {
	for _, c := range cases {
		name, _, _ := strings.Cut(cmp.Or(c.packages, "minbase"), " ")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			install(t, p, name, c.packages, c.checks)
			if c.user != "" && !t.Failed() {
				asUser(t, p, name, c.user, c.asUser)
			}
		})
	}
}

// base makes an image in which apt knows what there is to install. dpkg need
// not wait for the disk after each file.
func base(t *testing.T, p *lab.Place) {
	if err := os.Mkdir(filepath.Join(p.Home, "own"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := p.RunFor(patience, "run", "--name", "base", "debian:bookworm", "sh", "-c",
		"echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/fast && apt-get -q update")
	if r.Code != 0 {
		t.Fatalf("apt-get update: exit code %d\n%s%s", r.Code, r.Out, r.Err)
	}
	p.Must(t, "commit", "base", "ready")
	if out := p.Must(t, "image", "inspect", "--format", "{{.Config.Env}}", "ready"); strings.Contains(out, "APT_CONFIG") {
		t.Errorf("the image has berth's own environment: %s", out)
	}
	if r := p.Run("run", "--rm", "ready", "sh", "-c", "! find / -xdev -name '*apt.conf' -newer /etc/dpkg/dpkg.cfg.d/fast | grep ."); r.Code != 0 {
		t.Errorf("the image has berth's own file: %s", r.Out)
	}
}

// asUser makes an image of what was installed and runs a check in it as a user
// that the installation has made.
func asUser(t *testing.T, p *lab.Place, name, user, check string) {
	p.Must(t, "commit", "of-"+name, "image-"+name)
	r := p.RunFor(patience, "run", "--rm", "-u", user, "image-"+name, "bash", "-ec", check)
	if r.Code != 0 {
		t.Errorf("as %s: exit code %d\n%s%s", user, r.Code, tail(r.Out), tail(r.Err))
	}
}

func install(t *testing.T, p *lab.Place, name, packages string, checks []string) {
	script := "set -e\n"
	if packages != "" {
		script += "export DEBIAN_FRONTEND=noninteractive\napt-get -qy install --no-install-recommends " + packages + "\n"
	}
	for _, c := range checks {
		script += "echo '--- " + strings.ReplaceAll(first(c), "'", `'\''`) + "'\n(" + c + "\n)\n"
	}
	r := p.RunFor(patience, "run", "--name", "of-"+name, "-v", filepath.Join(p.Home, "own")+":/own", "ready", "bash", "-c", script)
	if r.Code != 0 {
		t.Errorf("exit code %d\n%s%s", r.Code, tail(r.Out), tail(r.Err))
	}
}

// first is the first line of a check, to tell by where it stopped.
func first(check string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(check), "\n")
	return line
}

func tail(s string) string {
	const most = 3000
	return s[max(0, len(s)-most):]
}
