#!/usr/bin/env bash
# Installs the Debian packages that the integration tests drive, where they are missing.
set -euo pipefail

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v prometheus-node-exporter >/dev/null || missing+=(prometheus-node-exporter)
{ compgen -G "/usr/lib/postgresql/*/bin/initdb" || command -v initdb; } >/dev/null || missing+=(postgresql)
command -v curl >/dev/null || missing+=(curl)
command -v systemd-analyze >/dev/null || missing+=(systemd)
command -v java >/dev/null || missing+=(default-jre-headless)
command -v mvn >/dev/null || missing+=(maven)
command -v cc >/dev/null || missing+=(gcc libc6-dev)
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "integration tests that need ${missing[*]} will be skipped: install them, or run 'sudo $0'" >&2
    exit 0
fi
echo "installing ${missing[*]}" >&2
apt-get update -qq
# What tests start themselves must not become a service of this machine: no cluster, no daemon.
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
