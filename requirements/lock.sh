#!/usr/bin/env bash
# Renew the hash-locked requirements from pyproject.toml: `make lock`. Names no index, holds for every Python 3.11+ and platform.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lock() {
    "${UV:-uv}" pip compile pyproject.toml "${@:2}" --universal --python-version 3.11 --generate-hashes --quiet --upgrade \
        --no-emit-index-url --no-emit-find-links --no-header --no-annotate --output-file "requirements/$1.txt"
}
run=(--extra agent --extra video --extra ca --extra server --extra hil --extra acme)
lock agent --extra agent --extra video --extra gpio
lock server --extra server --extra ca --extra acme
lock run "${run[@]}"
lock dev "${run[@]}" --group dev
# What `make` puts into a fresh .venv first: the installer and the build backend.
printf 'uv\nhatchling\neditables\nsetuptools\n' | "${UV:-uv}" pip compile - --universal --python-version 3.11 --generate-hashes --quiet --upgrade \
    --no-emit-index-url --no-emit-find-links --no-header --no-annotate --output-file requirements/setup.txt
