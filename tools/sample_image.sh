#!/bin/sh
# The image of the sample project's steps. Pulled when a registry can be reached; else made from the distribution's
# own packages. `sample_image.sh remove` removes only an image that was made here.
set -eu
. "$(dirname "$0")/lib.sh"

IMAGE="${REMORA_SAMPLE_IMAGE:-python:3.11-slim}"
LABEL=remora.made-by=sample_image
PULL_TIMEOUT="${REMORA_PULL_TIMEOUT:-10}"
LOG_FILE="$REMORA_HOME/log/sample_image.log"

# "URI SUITE" of every source that apt reads on this machine, one a line.
apt_sources() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -n 's/^deb  *\(\[[^]]*\]  *\)\{0,1\}\([^ ]*\)  *\([^ ]*\).*/\2 \3/p'
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        awk -F': *' '
            function flush() { n = split(suites, s, " "); for (i = 1; i <= n; i++) print uri, s[i]; uri = suites = "" }
            /^URIs:/ { split($0, u, " "); uri = u[2] }
            /^Suites:/ { suites = $2 }
            /^$/ { flush() }
            END { flush() }' "$file"
    done
}

make_root() {
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    system=$(. /etc/os-release && echo "$ID")
    parts=main
    [ "$system" = ubuntu ] && parts=main,universe
    mirror=$(apt_sources | awk -v c="$codename" '$2 == c {print $1; exit}')
    [ -n "$mirror" ] || fail "found no package mirror for $codename under /etc/apt: add one, or pull $IMAGE yourself"
    quiet "$LOG_FILE" debootstrap --variant=minbase --components="$parts" \
        --include=ca-certificates,python3,python3-pip,python3-venv "$codename" "$root" "$mirror" || exit 1
    apt_sources | awk -v c="$codename" -v p="$(echo "$parts" | tr , ' ')" \
        '$2 == c || $2 == c "-updates" || $2 == c "-security" {print "deb", $1, $2, p}' >"$root/etc/apt/sources.list"
    rm -f "$root"/etc/apt/sources.list.d/*.sources "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
    ln -sf python3 "$root/usr/bin/python"
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/doc \
        "$root"/usr/share/man "$root"/usr/share/locale
    mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/lib/apt/lists/partial" "$root/var/log/apt"
}

build() {
    if ! has debootstrap; then
        apt_install debootstrap
    fi
    is_root || fail "please pull the image, or run this as root to make it: docker pull $IMAGE"
    say "no registry answers: making $IMAGE from this distribution's packages (about a minute)"
    root=$(mktemp -d "${TMPDIR:-/tmp}/remora-image.XXXXXX")
    trap 'rm -rf "$root"' EXIT
    make_root
    tar -C "$root" '--exclude=./dev/*' '--exclude=./proc/*' '--exclude=./sys/*' -c . |
        docker import -c "LABEL $LABEL" -c 'CMD ["python3"]' - "$IMAGE" >>"$LOG_FILE"
    say "made $IMAGE"
}

make_image() {
    docker image inspect "$IMAGE" >/dev/null 2>&1 && return 0
    say "fetching $IMAGE"
    timeout "$PULL_TIMEOUT" docker pull -q "$IMAGE" >/dev/null 2>&1 && return 0
    build
}

remove() {
    docker version >/dev/null 2>&1 || return 0
    made=$(docker image ls -q --filter "label=$LABEL" | sort -u)
    [ -z "$made" ] && return 0
    say "removing the images that were made here"
    for id in $made; do
        docker image rm "$id" >/dev/null 2>&1 || say "image $id stays: something uses it"
    done
}

case "${1:-make}" in
make) make_image ;;
remove) remove ;;
*) fail "usage: tools/sample_image.sh [make|remove]" ;;
esac
