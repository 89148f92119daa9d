#!/usr/bin/env bash
# Build InfluxDB 2.9.1's `influxd` from the Go module proxy, once, into DEST (a file path).
# Needs go, cargo, and Debian's pkg-config clang protobuf-compiler. About 7 minutes on two cores.
set -euo pipefail
dest=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$here"
# libflux pins an old Rust toolchain that rustup would try to download: name one that is installed.
if command -v rustup >/dev/null && [ -z "${RUSTUP_TOOLCHAIN:-}" ]; then
    RUSTUP_TOOLCHAIN=$(rustup toolchain list | sed 's/ .*//' | grep -v nightly | head -n 1)
    export RUSTUP_TOOLCHAIN
fi
# Flux finds its Rust half through this pkg-config wrapper; only this build may see it.
GOBIN=$work go install github.com/influxdata/pkg-config@v0.2.14
PKG_CONFIG=$work/pkg-config CGO_ENABLED=1 go build -tags sqlite_foreign_keys,sqlite_json \
    -ldflags "-s -w -X main.version=2.9.1" -o "$work/influxd" github.com/influxdata/influxdb/v2/cmd/influxd
mkdir -p "$(dirname "$dest")"
mv "$work/influxd" "$dest.part"
mv "$dest.part" "$dest"
