#!/bin/sh
# Resolves every list of direct requirements into its lock: `make lock`. With arguments, they go to uv: `sh tools/lock.sh --upgrade`.
#
# The locks are index-neutral: exact versions and hashes, the address of no registry, so that they install from any mirror. That is why they
# are not a uv.lock, which names the host it was made with. `--universal`: one lock for Linux and macOS, x86_64 and arm64.
set -eu
cd "$(dirname -- "$0")/.."

for list in requirements/bootstrap layers/core/requirements layers/parquet/requirements requirements/dev requirements/stack; do
    .venv-tools/bin/uv pip compile --quiet "$@" --generate-hashes --universal --python-version 3.13 \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links "$list.in" -o "$list.txt"
    printf '%s: %s packages\n' "$list.txt" "$(grep -c '^[a-z].*==' "$list.txt")"
done
