#!/usr/bin/env bash
# A Docker engine that answers, and the Debian image the worker images stand on. Run as root; safe to run again.
set -euo pipefail
IMAGE=debian:bookworm-slim

answers() { docker info >/dev/null 2>&1; }

if ! answers; then
    command -v dockerd >/dev/null || { echo "dockerd is missing: apt-get install docker.io" >&2; exit 1; }
    echo "starting dockerd (log: /var/log/dockerd.log)"
    # a session of its own and no open files of ours: it outlives this script
    setsid -f dockerd >/var/log/dockerd.log 2>&1 </dev/null
    for _ in $(seq 60); do
        answers && break
        sleep 1
    done
    answers || { echo "dockerd does not answer after 60 s:" >&2; tail -n 20 /var/log/dockerd.log >&2; exit 1; }
fi

if ! docker image inspect "$IMAGE" >/dev/null 2>&1; then
    if timeout 60 docker pull -q "$IMAGE" >/dev/null 2>&1; then
        echo "pulled $IMAGE"
    else
        echo "$IMAGE cannot be pulled: making it from Debian's packages"
        root=$(mktemp -d)
        trap 'rm -rf "$root" "$root.log"' EXIT
        debootstrap --variant=minbase bookworm "$root" >"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; exit 1; }
        tar -C "$root" --exclude=./var/cache/apt/archives/*.deb -c . | docker import - "$IMAGE" >/dev/null
    fi
fi
echo "Docker engine $(docker version --format '{{.Server.Version}}'), $IMAGE is here"
