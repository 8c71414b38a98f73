#!/usr/bin/env bash
# Builds InfluxDB 2.7.12 from its Go module, once a machine: no package index offers the server as a binary.
# Prints the path of influxd. Exit code 3: this machine lacks Go or Rust, so it cannot be built here; with
# --if-built nothing is built, and exit code 4 says that it is not there.
set -euo pipefail

version=2.7.12
home="${COLDAISLE_CACHE:-$HOME/.cache/coldaisle}/influxdb-$version"
binary="$home/influxd"
build="$home/build"

if [ -x "$binary" ]; then
    echo "$binary"
    exit 0
fi
if [ "${1:-}" = --if-built ]; then
    echo "InfluxDB $version is not built on this machine: run deploy/build-influxd.sh (about 10 minutes), or make test" >&2
    exit 4
fi
for tool in go cargo git flock cc; do
    if ! command -v "$tool" >/dev/null; then
        echo "InfluxDB $version cannot be built: '$tool' is missing (needed: Go 1.24 or newer, Rust, git, a C compiler)" >&2
        exit 3
    fi
done

mkdir -p "$build"
# One build a machine: whoever comes second waits for the first and finds its binary.
exec 9>"$home/lock"
flock 9
if [ -x "$binary" ]; then
    echo "$binary"
    exit 0
fi
echo "building InfluxDB $version (once a machine, about 10 minutes on 2 cores; log: $home/build.log)" >&2
exec 8>"$home/build.log"

cd "$build"
cat >go.mod <<MOD
module influxd-build

go 1.24

replace github.com/nats-io/nats-streaming-server v0.11.2 => github.com/influxdata/nats-streaming-server v0.11.3-0.20201112040610-c277f7560803
MOD
cat >tools.go <<'TOOLS'
//go:build tools

package tools

import _ "github.com/influxdata/influxdb/v2/cmd/influxd"
TOOLS
# Flux turns the lints of newer compilers into errors through its feature "strict"; capping lints does not help.
cat >cargo-lenient <<'CARGO'
#!/usr/bin/env bash
for manifest in flux/Cargo.toml flux-core/Cargo.toml; do
    [ ! -f "$manifest" ] || sed -i 's/^default = \["strict"\]/default = []/; s/^default = \["strict", "cffi"\]/default = ["cffi"]/' "$manifest"
done
exec cargo "$@"
CARGO
chmod +x cargo-lenient

export GOPATH="$build/go" GOCACHE="$build/gocache" GOFLAGS="-mod=mod -buildvcs=false"
# Flux pins an older Rust that may not be had; the one that is here compiles it.
if command -v rustup >/dev/null; then
    RUSTUP_TOOLCHAIN="$(rustup toolchain list | head -1 | cut -d' ' -f1)"
    export RUSTUP_TOOLCHAIN
fi
compile() {
    # Influx's own pkg-config, which builds Flux, must come before the system's.
    go install github.com/influxdata/pkg-config@v0.2.14 &&
        go get "github.com/influxdata/influxdb/v2/cmd/influxd@v$version" &&
        CARGO="$build/cargo-lenient" PKG_CONFIG="$GOPATH/bin/pkg-config" PATH="$GOPATH/bin:$PATH" nice -n 5 \
        go build -tags sqlite_foreign_keys,sqlite_json -ldflags "-X main.version=v$version" -o "$build/influxd" github.com/influxdata/influxdb/v2/cmd/influxd
}
if ! compile >&8 2>&1; then
    echo "InfluxDB $version did not build; the end of $home/build.log:" >&2
    tail -20 "$home/build.log" >&2
    exit 1
fi
mv "$build/influxd" "$binary"
chmod -R u+w "$build" && rm -rf "$build"
echo "$binary"
