#!/bin/sh
# Pulumi's CLI and what it needs to run Python programs, in one folder under ~/.cache/remora: the one on PATH where its
# version fits; else the release of Pulumi's download host; else built from Go modules (three minutes and a half on two
# cores, once). A machine that can do none of it goes without: its tests are listed as NOT RUN.
# REMORA_PULUMI_RELEASES names a mirror of the download host.
set -eu
cd "$(dirname "$0")"
. ../lib.sh

CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/remora"
LOG_FILE="$REMORA_HOME/log/pulumi.log"
RELEASES="${REMORA_PULUMI_RELEASES:-https://get.pulumi.com/releases/sdk}"
CLI=github.com/pulumi/pulumi/pkg/v3
SDK=github.com/pulumi/pulumi/sdk/v3
FILES="pulumi-language-python pulumi-language-python-exec pulumi-resource-pulumi-python pulumi"
VERSION=$(sed -n "s|.*$CLI v\([0-9.]*\).*|\1|p" cli/go.mod | head -n 1)
TARGET="$CACHE/pulumi-$(cat cli/go.mod cli/go.sum language-host/go.mod language-host/go.sum | sha256sum | cut -c1-16)"
NEW="$TARGET.new"

# at_least WANTED FOUND: of version numbers.
at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

# whole FOLDER: has all the files.
whole() {
    for file in $FILES; do
        [ -x "$1/$file" ] || return 1
    done
}

installed() {
    found=$(command -v pulumi) || return 1
    version=$("$found" version 2>/dev/null | sed 's/^v//')
    case $version in 3.*) ;; *) return 1 ;; esac
    at_least "$VERSION" "$version" || return 1
    folder=$(dirname "$(readlink -f "$found")")
    whole "$folder" || return 1
    for file in $FILES; do
        ln -s "$folder/$file" "$NEW/$file"
    done
}

downloaded() {
    has curl || return 1
    case $(uname -m) in
        x86_64) machine=x64 ;;
        aarch64) machine=arm64 ;;
        *) return 1 ;;
    esac
    curl --silent --fail --location --connect-timeout 5 --max-time 120 --retry 1 \
        "$RELEASES/pulumi-v$VERSION-linux-$machine.tar.gz" --output "$NEW/release.tar.gz" || return 1
    # shellcheck disable=SC2086
    (cd "$NEW" && quiet "$LOG_FILE" tar -xzf release.tar.gz --strip-components=1 $(printf 'pulumi/%s ' $FILES)) || return 1
    rm "$NEW/release.tar.gz"
}

# From 1.21 on Go fetches the version that a module asks for.
has_go() {
    has go && at_least 1.21 "$(go env GOVERSION | sed 's/^go//')"
}

built() {
    has_go || return 1
    say "building Pulumi's CLI from its Go modules (three to four minutes, once)"
    (cd language-host && quiet "$LOG_FILE" go build -ldflags "-s -w" -o "$NEW/pulumi-language-python" \
        "$SDK/python/cmd/pulumi-language-python") || return 1
    (cd cli && quiet "$LOG_FILE" go build -ldflags "-s -w -X $SDK/go/common/version.Version=$VERSION" \
        -o "$NEW/pulumi" "$CLI/cmd/pulumi") || return 1
    scripts=$(cd cli && go list -m -f '{{.Dir}}' "$SDK")/python || return 1
    install -m 755 "$scripts/cmd/pulumi-language-python-exec" "$scripts/dist/pulumi-resource-pulumi-python" "$NEW/"
}

# attempt HOW: into an empty folder, which takes its place when it is whole.
attempt() {
    rm -rf "$NEW"
    mkdir -p "$NEW"
    "$1" && whole "$NEW" || return 1
    rm -rf "$TARGET"
    mv "$NEW" "$TARGET"
}

whole "$TARGET" && exit 0
attempt installed || attempt downloaded || attempt built || {
    rm -rf "$NEW"
    say "no Pulumi here: install pulumi $VERSION or newer, or curl and a way to $RELEASES, or Go 1.21 or newer"
}
