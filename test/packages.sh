#!/bin/sh
# Installs the Debian packages that the tests use, only those that are missing.
# With --check it installs nothing and names what is missing.
set -eu

# command          package          what the tests do with it
need='
docker-registry    docker-registry  a real registry on loopback
busybox            busybox-static   the busybox image
debootstrap        debootstrap      the debian and python images
setpriv            util-linux       other accounts and namespaces
newuidmap          uidmap           accounts with more ids than their own
skopeo             skopeo           another hand that reads and writes images
openssl            openssl          the certificate of the TLS registry
make               make             the README commands
ps                 procps           berth top
podman             podman           an engine that drives berth oci
containerd         containerd       another one
runc               runc             the runtime to compare with
crun               crun             the fastest one
mkfs.xfs           xfsprogs         a file system where copies share blocks
bindfs             bindfs           a file system that others may share (FUSE)
linux.uml          user-mode-linux  a kernel with cgroup version 2, and one with AppArmor
dbus-daemon        dbus-daemon      a real bus, for the messages to systemd
apparmor_parser    apparmor         loads the AppArmor profile into that
qemu-aarch64       qemu-user        runs the assembler of the other processor
qemu-system-x86_64 qemu-system-x86  whole servers, emulated
iperf3             iperf3           how fast networks are
pasta              passt            a way to the network for accounts
slirp4netns        slirp4netns      another one
mmdebstrap         mmdebstrap       the Debian system of these
mke2fs             e2fsprogs        their disks
ssh                openssh-client   logs in to them
iptables-nft       iptables         packet filters of other software, new and old
nft                nftables         another one, and a look at ours
'

missing=$(echo "$need" | while read -r cmd pkg _; do
	[ -z "$cmd" ] || command -v "$cmd" >/dev/null 2>&1 ||
		PATH=$PATH:/usr/sbin:/sbin command -v "$cmd" >/dev/null 2>&1 || echo "$pkg"
done | sort -u | tr '\n' ' ')
# A busybox that needs shared libraries cannot live alone in an image.
if ! dpkg-query -W -f '${Status}' busybox-static 2>/dev/null | grep -q 'ok installed'; then
	case " $missing" in *" busybox-static "*) ;; *) missing="$missing busybox-static" ;; esac
fi
[ -n "$missing" ] || exit 0

if [ "${1:-}" = --check ]; then
	echo "missing Debian packages: $missing" >&2
	exit 1
fi
if ! command -v apt-get >/dev/null; then
	echo "the tests need these Debian packages, and there is no apt-get here: $missing" >&2
	exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "the tests need these Debian packages; install them as root: $missing" >&2
		exit 1
	fi
	as_root=sudo
fi
echo "installing Debian packages for the tests: $missing"
export DEBIAN_FRONTEND=noninteractive
# A package list of an unrelated source may be out of reach: what counts is
# whether the packages can be installed afterwards.
$as_root apt-get update -qq || true
# shellcheck disable=SC2086
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
