#!/bin/sh
# An evaluator of IAM policies for tests, from npm, once. Its licence is AGPL: it runs as a process of its own beside the
# tests, and nothing of it is part of the project.
set -eu
cd "$(dirname "$0")"
. ../lib.sh

LOG_FILE="$REMORA_HOME/log/iam-simulate.log"
npm_packages iam-simulate "installing an evaluator of IAM policies from npm (once)"
