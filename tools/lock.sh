#!/bin/sh
# Writes both lock files from pyproject.toml, with hashes, for Python 3.11 and newer. Needs uv.
set -eu
cd "$(dirname "$0")/.."
UV="${UV:-uv}"
lock() {
    output=$1
    shift
    "$UV" pip compile pyproject.toml tools/build-requirements.in --universal --python-version 3.11 \
        --generate-hashes --no-annotate --custom-compile-command tools/lock.sh --quiet "$@" --output-file "$output"
}
lock requirements.lock
lock requirements-dev.lock --all-extras --constraint requirements.lock
