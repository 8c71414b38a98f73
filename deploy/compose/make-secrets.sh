#!/usr/bin/env bash
# Makes the secrets that docker-compose.yml mounts, where they are missing; it never changes one.
set -euo pipefail

folder="${1:-$(dirname "$0")/secrets}"
mkdir -p "$folder"
# Nobody else on this machine may enter; in the containers each service, under its own user, reads the single files.
chmod 0700 "$folder"
for name in influxdb-password influxdb-token page-token postgres-password; do
    if [ ! -s "$folder/$name" ]; then
        openssl rand -hex 24 >"$folder/$name.new"
        chmod 0444 "$folder/$name.new"
        mv "$folder/$name.new" "$folder/$name"
        echo "made $folder/$name"
    fi
done
