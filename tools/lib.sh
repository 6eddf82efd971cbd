# Shared by the scripts in tools/: progress lines, quiet commands, installing packages. Sourced, not run.

REMORA_HOME="${REMORA_HOME:-$HOME/.remora}"
STARTED="${STARTED:-$(date +%s)}"
export REMORA_HOME STARTED

say() {
    printf '[%3ss] %s\n' "$(($(date +%s) - STARTED))" "$*"
}

fail() {
    printf 'remora: %s\n' "$*" >&2
    exit 1
}

# quiet LOG COMMAND...: the output goes to LOG; its end is shown when the command fails.
quiet() {
    _log=$1
    shift
    mkdir -p "$(dirname "$_log")"
    if "$@" >>"$_log" 2>&1; then
        return 0
    fi
    printf 'remora: this failed: %s\n' "$*" >&2
    tail -n 25 "$_log" | sed 's/^/    /' >&2
    printf 'remora: the whole output is in %s\n' "$_log" >&2
    return 1
}

is_root() {
    [ "$(id -u)" -eq 0 ]
}

# Commands of the administrator are not in everybody's PATH.
has() {
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1
}

runs_systemd() {
    [ -d /run/systemd/system ]
}

# apt_install PACKAGE...: as root; else one line that says what to install. Services are not started here:
# Remora starts its own Redis on a port of its own, and the engine only when none answers.
apt_install() {
    [ $# -gt 0 ] || return 0
    is_root || fail "please install as root, then run this again: apt-get install -y --no-install-recommends $*"
    has apt-get || fail "please install, then run this again: $* (the names are Debian's)"
    _aptlog="$REMORA_HOME/log/apt.log"
    mkdir -p "$REMORA_HOME/log"
    say "installing $* (apt)"
    if ! apt-cache show "$@" >/dev/null 2>&1 || [ -z "$(find /var/lib/apt/lists -name '*Packages*' 2>/dev/null | head -n 1)" ]; then
        quiet "$_aptlog" apt-get update || exit 1
    fi
    if ! RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "$@" >>"$_aptlog" 2>&1; then
        # Old package lists name files that the mirror no longer has.
        quiet "$_aptlog" apt-get update || exit 1
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
            quiet "$_aptlog" apt-get install -y --no-install-recommends "$@" || exit 1
    fi
    if runs_systemd; then
        for _package in "$@"; do
            [ "$_package" = redis-server ] && systemctl disable --now redis-server >>"$_aptlog" 2>&1
            [ "$_package" = openssh-server ] && systemctl disable --now ssh >>"$_aptlog" 2>&1
        done
    fi
    return 0
}

CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/remora"

# place NAME FILE...: the folder that belongs to this content.
place() {
    name=$1
    shift
    printf '%s/%s-%s' "$CACHE" "$name" "$(cat "$@" | sha256sum | cut -c1-16)"
}

# npm_packages NAME WORDS: what package-lock.json of this folder names, once, in the folder that belongs to it. A machine
# without npm goes without.
npm_packages() {
    target=$(place "$1" package.json package-lock.json)
    [ -d "$target/node_modules" ] && return 0
    has npm || return 0
    say "$2"
    rm -rf "$target.new"
    mkdir -p "$target.new"
    cp package.json package-lock.json "$target.new/"
    (cd "$target.new" && quiet "$LOG_FILE" npm ci --no-audit --no-fund --ignore-scripts) || return 0
    rm -rf "$target"
    mv "$target.new" "$target"
}
