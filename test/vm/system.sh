#!/bin/sh
# Makes a folder into the system that the machines of package vm boot: Debian
# from Debian's packages, with accounts, keys and the few units of the bench.
#
#	system.sh DIR KERNEL.deb...
#
# The kernels are put beside one another; which one runs is said at boot.
set -eu
dir=$1; shift

# skopeo and openssl are called by the scripts of package script; the rest is
# what a server has that people log in to.
mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' --aptopt='APT::Install-Recommends "false"' \
	--include=systemd-sysv,udev,kmod,dbus,dbus-user-session,libpam-systemd,openssh-server,uidmap,apparmor \
	--include=procps,iproute2,nftables,util-linux,busybox-static,openssl,skopeo,ca-certificates,e2fsprogs \
	bookworm "$dir" "deb http://deb.debian.org/debian bookworm main"

for deb; do dpkg-deb -x "$deb" "$dir.kernel"; done
cp -a "$dir.kernel/lib/modules" "$dir/lib/"
for k in "$dir"/lib/modules/*; do chroot "$dir" depmod "${k##*/}"; done

# alice has what an account of a directory service has: no id ranges. bob was
# made with useradd and stays logged in.
inside() { chroot "$dir" "$@"; }
inside useradd -m -s /bin/bash alice
inside useradd -m -s /bin/bash bob
: >"$dir/etc/subuid"; : >"$dir/etc/subgid"
echo bob:231072:65536 | tee "$dir/etc/subuid" >"$dir/etc/subgid"
mkdir -p "$dir/var/lib/systemd/linger"
: >"$dir/var/lib/systemd/linger/bob"

ssh-keygen -q -t ed25519 -N '' -C bench -f "$dir.key"
for home in root home/alice home/bob; do
	mkdir -p -m 700 "$dir/$home/.ssh"
	cp "$dir.key.pub" "$dir/$home/.ssh/authorized_keys"
done
inside chown -R alice: /home/alice/.ssh
inside chown -R bob: /home/bob/.ssh

echo bench >"$dir/etc/hostname"
echo '127.0.0.1 localhost bench' >"$dir/etc/hosts"
# The registries of the lab run on the host's loopback, and their names hold
# that address, for which berth asks no TLS. So the machine's loopback leads
# there, port by port: 10.0.2.2 is the host's loopback in QEMU's network.
cat >"$dir/usr/local/sbin/bench" <<'EOF'
#!/bin/sh
set -e
modprobe virtio_net || exit 1
for _ in $(seq 100); do [ -e /sys/class/net/eth0 ] && break; sleep 0.1; done
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
for word in $(cat /proc/cmdline); do case $word in bench.ports=*) ports=${word#*=} ;;  esac; done
if [ -n "$ports" ]; then
	echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
	nft -f - <<NFT
table ip bench {
	chain out { type nat hook output priority -100; ip daddr 127.0.0.1 tcp dport { $ports } dnat to 10.0.2.2; }
	chain post { type nat hook postrouting priority 100; ip daddr 10.0.2.2 masquerade; }
}
NFT
fi
mount -o ro /dev/nvme1n1 /bench
EOF
chmod 755 "$dir/usr/local/sbin/bench"
mkdir -p "$dir/bench"
cat >"$dir/etc/systemd/system/bench.service" <<'EOF'
[Unit]
Description=Network and disk of the bench
DefaultDependencies=no
After=systemd-udevd.service local-fs.target
Before=ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/bench
StandardOutput=journal+console
[Install]
WantedBy=multi-user.target
EOF
cat >"$dir/etc/systemd/system/bench-ready.service" <<'EOF'
[Unit]
After=ssh.service bench.service systemd-user-sessions.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo BENCH READY >/dev/ttyS0'
[Install]
WantedBy=multi-user.target
EOF
: >"$dir/etc/fstab"
inside systemctl --quiet enable bench.service bench-ready.service
inside systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
	e2scrub_reap.service fstrim.timer systemd-firstboot.service systemd-pcrphase.service getty.target \
	serial-getty@ttyS0.service systemd-update-utmp.service systemd-update-utmp-runlevel.service ldconfig.service \
	modprobe@dm_mod.service modprobe@loop.service modprobe@efi_pstore.service modprobe@drm.service systemd-pstore.service
mkdir -p "$dir/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\n' >"$dir/etc/systemd/journald.conf.d/bench.conf"
printf 'UseDNS no\nPermitRootLogin yes\n' >"$dir/etc/ssh/sshd_config.d/bench.conf"
rm -rf "$dir/var/lib/apt/lists" "$dir/var/cache/apt"
