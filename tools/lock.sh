#!/bin/sh
# Writes the lock files, with hashes, for Python 3.11 and newer: what runs, what the agent's file carries (a part of
# the first), what installs the control plane on a host, what the installer needs besides, what the tests need besides. Needs uv.
set -eu
cd "$(dirname "$0")/.."
UV="${UV:-uv}"
ALL="pyproject.toml tools/build-requirements.in --constraint tools/constraints.txt"
lock() {
    output=$1
    shift
    "$UV" pip compile --universal --python-version 3.11 --generate-hashes --no-annotate \
        --custom-compile-command tools/lock.sh --quiet "$@" --output-file "$output"
}
lock requirements.lock $ALL
lock requirements-agent.lock tools/agent-requirements.in --constraint requirements.lock
lock requirements-server.lock tools/server-requirements.in
lock requirements-installer.lock $ALL --extra installer --constraint requirements.lock
lock requirements-dev.lock $ALL --all-extras --constraint requirements-installer.lock
