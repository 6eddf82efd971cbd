#!/bin/sh
# Real object stores for tests: versitygw (S3) from Go modules, azurite (Azure Blob) from npm, Swift and fake-gcs-server
# from PyPI; with these moto, for AWS's other services: its botocore and our rq can't be in one environment. Each is
# built once and kept under ~/.cache/remora by what it is made of. A machine that lacks Go or npm goes without: its
# tests are listed as NOT RUN. `build.sh lock` writes requirements.lock (needs uv).
set -eu
cd "$(dirname "$0")"
. ../lib.sh

LOG_FILE="$REMORA_HOME/log/store-servers.log"

versitygw() {
    target=$(place versitygw ../versitygw/go.mod ../versitygw/go.sum)
    [ -x "$target/versitygw" ] && return 0
    has go || return 0
    say "building versitygw from its Go modules (about two minutes, once)"
    (cd ../versitygw && quiet "$LOG_FILE" go build -o "$target.new/versitygw" github.com/versity/versitygw/cmd/versitygw) ||
        return 0
    rm -rf "$target"
    mv "$target.new" "$target"
}

# A virtual environment knows its own path, so it is made in its place and marked when it is whole.
python_servers() {
    target=$(place store-servers requirements.lock)
    [ -f "$target/whole" ] && return 0
    say "installing Swift, fake-gcs-server and moto from PyPI (once)"
    rm -rf "$target"
    quiet "$LOG_FILE" python3 -m venv "$target" || return 0
    quiet "$LOG_FILE" "$target/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
        --no-deps --require-hashes -r requirements.lock || return 0
    touch "$target/whole"
}

if [ "${1:-build}" = lock ]; then
    exec "${UV:-uv}" pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --quiet \
        --custom-compile-command "tools/store-servers/build.sh lock" requirements.in --output-file requirements.lock
fi
mkdir -p "$CACHE"
versitygw &
npm_packages azurite "installing azurite from npm (once)" &
python_servers &
wait
