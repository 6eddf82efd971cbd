#!/bin/sh
# `make up` on a fresh machine, measured: a bare root of Debian 12 or Ubuntu 24.04 with Python, make and git only, in
# its own mount, process and network namespaces, with an engine of its own. Needs root, debootstrap and iproute2.
#
#   tools/fresh.sh [debian|ubuntu] [COMMAND]     COMMAND replaces the measured one; it runs in the clone
#
# What the machine knows of mirrors, certificates and proxies is given to the root; nothing of it is kept here.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

SYSTEM=${1:-debian}
COMMAND=${2:-}
CACHE="${REMORA_CACHE:-$HOME/.cache/remora}"
UBUNTU_MIRROR="${UBUNTU_MIRROR:-http://archive.ubuntu.com/ubuntu}"
ADDRESS=10.213.$(($$ % 200 + 20))
NAME=rfresh$(($$ % 100000))
LOG="$CACHE/fresh-$SYSTEM.log"

is_root || fail "tools/fresh.sh makes roots and namespaces: run it as root"
for program in debootstrap ip unshare nsenter iptables; do
    has "$program" || fail "tools/fresh.sh needs $program: apt-get install -y debootstrap iproute2 util-linux iptables"
done
mkdir -p "$CACHE"

case "$SYSTEM" in
debian) CODENAME=bookworm ;;
ubuntu) CODENAME=noble ;;
*) fail "usage: tools/fresh.sh [debian|ubuntu] [COMMAND]" ;;
esac

# "URI SUITE" lines of this machine's own sources for the release, in the one-line form.
own_sources() {
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        [ -f "$file" ] && grep -hv '^#' "$file" | awk '
            /^URIs:/ { uri = $2 }
            /^Suites:/ { for (i = 2; i <= NF; i++) print uri, $i }
            /^deb / { sub(/\[[^]]*\] */, ""); print $2, $3 }'
    done | awk -v c="$CODENAME" '$2 == c || $2 == c "-updates" || $2 == c "-security"'
}

base_tarball() {
    [ -f "$CACHE/$CODENAME.tar" ] && return 0
    say "making a bare root of $CODENAME (once)"
    bare="$CACHE/$CODENAME.$$"
    if [ "$SYSTEM" = debian ]; then
        mirror=$(own_sources | awk -v c=bookworm '$2 == c {print $1; exit}')
        quiet "$LOG" debootstrap --variant=minbase --include=python3,make,git,ca-certificates bookworm "$bare" \
            "${mirror:-http://deb.debian.org/debian}" || exit 1
    else
        # Debian carries no key of Ubuntu's; this root is thrown away after the test.
        quiet "$LOG" debootstrap --no-check-gpg --variant=minbase --components=main,universe \
            --include=python3,make,git,ca-certificates noble "$bare" "$UBUNTU_MIRROR" gutsy || exit 1
    fi
    tar -C "$bare" --exclude='./var/cache/apt/archives/*.deb' -cf "$CACHE/$CODENAME.tar.$$" .
    mv "$CACHE/$CODENAME.tar.$$" "$CACHE/$CODENAME.tar"
    rm -rf "$bare"
}

furnish() {
    tar -C "$ROOT" -xpf "$CACHE/$CODENAME.tar"
    cp /etc/resolv.conf "$ROOT/etc/resolv.conf"
    echo "127.0.0.1 localhost fresh" >"$ROOT/etc/hosts"
    [ -d /usr/local/share/ca-certificates ] && cp -r /usr/local/share/ca-certificates "$ROOT/usr/local/share/"
    cp /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/ca-certificates.crt"
    [ -f /etc/pip.conf ] && cp /etc/pip.conf "$ROOT/etc/pip.conf"
    rm -f "$ROOT"/etc/apt/sources.list.d/*
    if [ "$SYSTEM" = debian ]; then
        own_sources | awk '{print "deb", $1, $2, "main"}' >"$ROOT/etc/apt/sources.list"
    else
        for suite in noble noble-updates noble-security; do
            echo "deb $UBUNTU_MIRROR $suite main universe"
        done >"$ROOT/etc/apt/sources.list"
    fi
    git clone -q "file://$PWD" "$ROOT/root/remora"
}

connect() {
    ip netns add "$NAME"
    ip link add "$NAME" type veth peer name eth0 netns "$NAME"
    ip addr add "$ADDRESS.1/24" dev "$NAME"
    ip link set "$NAME" up
    ip -n "$NAME" addr add "$ADDRESS.2/24" dev eth0
    ip -n "$NAME" link set lo up
    ip -n "$NAME" link set eth0 up
    ip -n "$NAME" route add default via "$ADDRESS.1"
    sysctl -q -w net.ipv4.ip_forward=1
    PATH="$PATH:/usr/sbin:/sbin"
    iptables -t nat -I POSTROUTING -s "$ADDRESS.0/24" -j MASQUERADE
    iptables -I FORWARD -i "$NAME" -j ACCEPT
    iptables -I FORWARD -o "$NAME" -j ACCEPT
}

disconnect() {
    iptables -t nat -D POSTROUTING -s "$ADDRESS.0/24" -j MASQUERADE 2>/dev/null
    iptables -D FORWARD -i "$NAME" -j ACCEPT 2>/dev/null
    iptables -D FORWARD -o "$NAME" -j ACCEPT 2>/dev/null
    ip netns del "$NAME" 2>/dev/null
    rm -rf "$ROOT"
}

# Inside its namespaces; when the first process ends, the kernel ends all the others.
enter() {
    nsenter --net="/run/netns/$NAME" unshare --mount --pid --uts --ipc --fork --kill-child \
        sh -c '
            set -eu
            hostname fresh
            mount --make-rprivate /
            mount --bind "$1" "$1"
            mount -t proc proc "$1/proc"
            mount --rbind /sys "$1/sys"
            mount --rbind /dev "$1/dev"
            mount -t tmpfs tmpfs "$1/run"
            exec chroot "$1" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
                $(env | grep -E "^(PIP_[A-Z_]*|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY)=[^ ]*$" |
                    grep -v "^PIP_FIND_LINKS=") \
                sh -c "cd /root/remora && $2"
        ' enter "$ROOT" "$1"
}

MEASURE='
    began=$(date +%s); make up || exit 1; echo "FRESH cold $(($(date +%s) - began)) s"
    began=$(date +%s); make up || exit 1; echo "FRESH warm $(($(date +%s) - began)) s"
    make down || exit 1
    began=$(date +%s); make up || exit 1; echo "FRESH again-after-down $(($(date +%s) - began)) s"
    .venv/bin/remora server status || exit 1
    make clean || exit 1
    test ! -e /root/.remora && test ! -e .venv && ! docker version >/dev/null 2>&1 && echo "FRESH clean"
'

base_tarball
ROOT=$(mktemp -d "$CACHE/root.XXXXXX")
trap disconnect EXIT
trap 'exit 130' INT TERM
furnish
connect
say "entering a fresh $SYSTEM"
enter "${COMMAND:-$MEASURE}"
