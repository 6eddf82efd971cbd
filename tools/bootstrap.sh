#!/bin/sh
# Brings a machine that has Python, make and git to where `remora server up` works: packages of the distribution,
# virtual environment, Docker engine, the sample's image. With --dev: also what the tests need.
# Does only what is missing; a second run changes nothing.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

LOG_FILE="$REMORA_HOME/log/bootstrap.log"

check_python() {
    has python3 || fail "please install Python 3.11 or newer: apt-get install -y python3"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed; python3 here is $(python3 -V 2>&1)"
}

redis_is_missing() {
    ! has redis-server
}

missing_packages() {
    [ -x .venv/bin/python ] || python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    [ -f /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    redis_is_missing && echo redis-server
    has docker || echo docker.io
    # `docker` can be there alone; the engine is needed only where none answers.
    if has docker && ! has dockerd && [ -z "${DOCKER_HOST:-}" ] && ! [ -S /var/run/docker.sock ]; then
        echo docker.io
    fi
    # Repositories by ssh need it; the rest goes without.
    has ssh || ! is_root || echo openssh-client
    [ "$1" = dev ] && missing_for_tests
    return 0
}

# Parts that only tests need; without root those tests are listed as NOT RUN.
missing_for_tests() {
    is_root || return 0
    has chromium || has chromium-browser || { [ "$(. /etc/os-release && echo "$ID")" = debian ] && echo chromium; }
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || echo postgresql
    has debootstrap || echo debootstrap
    has iptables || echo iptables
    has ip || echo iproute2
    has openssl || echo openssl
    has sshd || echo openssh-server
    has docker-registry || echo docker-registry
    has htpasswd || echo apache2-utils
    return 0
}

# One stamp per lock file: names the exact content and interpreter that the environment was made from.
stamp_of() {
    printf '%s/.%s-%s' .venv "$1" "$(cat "$1" pyproject.toml | sha256sum | cut -c1-16)"
}

make_environment() {
    stamp=$(stamp_of "$1")
    [ -f "$stamp" ] && .venv/bin/python -c '' 2>/dev/null && return 0
    say "virtual environment: installing $(grep -c '^[a-z0-9]' "$1") packages of $1"
    .venv/bin/python -c '' 2>/dev/null || quiet "$LOG_FILE" python3 -m venv --clear .venv || exit 1
    .venv/bin/python -m pip --version >/dev/null 2>&1 || quiet "$LOG_FILE" .venv/bin/python -m ensurepip || exit 1
    # The lock names everything. A resolver that looks further trips over the next release of a package with extras.
    quiet "$LOG_FILE" .venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check \
        --no-deps --require-hashes -r "$1" || exit 1
    quiet "$LOG_FILE" .venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check \
        --no-deps --no-build-isolation --editable . || exit 1
    quiet "$LOG_FILE" .venv/bin/python -m pip check || exit 1
    rm -f ".venv/.$1-"*
    touch "$stamp"
}

check_redis() {
    version=$(redis-server --version | sed -n 's/.*v=\([0-9]*\).*/\1/p')
    [ "${version:-0}" -ge 7 ] || fail "Redis 7 or newer is needed; redis-server here is version ${version:-unknown}"
}

purpose=${1:-run}
purpose=${purpose#--}
check_python
# shellcheck disable=SC2046
apt_install $(missing_packages "$purpose" | sort -u)
check_redis
tools/engine.sh start
# The image takes longest where it has to be made: meanwhile the environment is installed.
tools/sample_image.sh make &
image=$!
if [ "$purpose" = dev ]; then
    tools/store-servers/build.sh &
    servers=$!
    tools/iam-simulate/build.sh &
    simulator=$!
    nice tools/pulumi/build.sh &
    pulumi=$!
fi
make_environment requirements.lock
if [ "$purpose" = dev ]; then
    make_environment requirements-dev.lock
    wait "$servers" "$simulator" "$pulumi"
fi
wait "$image"
