#!/bin/sh
# A Docker engine that answers: the one of DOCKER_HOST, else the one on the default socket, which is started here
# when nothing answers there. `engine.sh stop` stops only an engine that this script started.
set -eu
. "$(dirname "$0")/lib.sh"

PID_FILE=/run/remora-engine.pid
LOG_FILE=/var/log/remora-engine.log
WAIT="${REMORA_ENGINE_WAIT:-60}"

answers() {
    timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

runs_ours() {
    [ -f "$PID_FILE" ] && kill -0 "$(cat "$PID_FILE")" 2>/dev/null
}

# Where no init system has done it, dockerd needs the control groups mounted.
mount_cgroups() {
    [ -n "$(ls -A /sys/fs/cgroup 2>/dev/null)" ] && return 0
    mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null && [ -s /sys/fs/cgroup/cgroup.controllers ] && return 0
    umount /sys/fs/cgroup 2>/dev/null || true
    mount -t tmpfs cgroup /sys/fs/cgroup
    for controller in $(awk '!/^#/ && $4 == 1 {print $1}' /proc/cgroups); do
        mkdir -p "/sys/fs/cgroup/$controller"
        mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller" 2>/dev/null ||
            rmdir "/sys/fs/cgroup/$controller"
    done
}

start_daemon() {
    mount_cgroups
    PATH="$PATH:/usr/sbin:/sbin" setsid dockerd -p "$PID_FILE" </dev/null >>"$LOG_FILE" 2>&1 &
    daemon=$!
    i=0
    while ! answers; do
        i=$((i + 1))
        if [ "$i" -gt $((WAIT * 5)) ] || { [ "$i" -gt 10 ] && ! kill -0 "$daemon" 2>/dev/null && ! runs_ours; }; then
            tail -n 15 "$LOG_FILE" | sed 's/^/    /' >&2
            fail "the Docker engine did not start; its output is in $LOG_FILE"
        fi
        sleep 0.2
    done
}

start() {
    answers && return 0
    [ -z "${DOCKER_HOST:-}" ] || fail "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST; start it or unset DOCKER_HOST"
    if [ -S /var/run/docker.sock ] && ! [ -w /var/run/docker.sock ]; then
        fail "you may not use the Docker engine: ask for membership of the group docker (usermod -aG docker $(id -un))"
    fi
    is_root || fail "no Docker engine runs: start it as root (systemctl start docker), then run this again"
    say "starting the Docker engine"
    if runs_systemd; then
        systemctl start docker || fail "systemctl start docker failed; see journalctl -u docker"
        answers || fail "the Docker engine runs, and does not answer on its default socket"
        return 0
    fi
    start_daemon
}

stop() {
    runs_ours || return 0
    if [ -n "$(docker ps -q 2>/dev/null)" ]; then
        say "the Docker engine stays: containers still run on it"
        return 0
    fi
    say "stopping the Docker engine"
    pid=$(cat "$PID_FILE")
    kill "$pid"
    i=0
    while kill -0 "$pid" 2>/dev/null && [ "$i" -lt 150 ]; do
        i=$((i + 1))
        sleep 0.2
    done
}

case "${1:-start}" in
start) start ;;
stop) stop ;;
*) fail "usage: tools/engine.sh [start|stop]" ;;
esac
