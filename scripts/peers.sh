#!/usr/bin/env bash
# Installs the servers of other people that the benchmarks compare with, each from its pinned
# requirements into an environment of its own: Multi Model Server (with the frameworks of
# benchmarks/model_server.py) into .venv-peers, every other into .venv-peer-NAME.
# `scripts/peers.sh` installs all of them, `scripts/peers.sh mms triton` these. A peer that cannot be
# installed is named at the end, and the exit status is 1; the benchmarks leave it out.
set -euo pipefail
cd "$(dirname "$0")/.."

ALL=(mms torchserve mlserver litserve ray triton)

install() { # NAME -> its environment, unless its requirements have not changed since
    local name=$1 folder=.venv-peer-$1 pins=requirements/peer-$1.txt
    if [ "$name" = mms ]; then folder=.venv-peers pins=requirements/peers.txt; fi
    [ -f "$pins" ] || { echo "no peer is called $name: there are ${ALL[*]}" >&2; return 1; }
    if cmp -s "$pins" "$folder/installed.txt"; then return 0; fi
    echo "$name -> $folder"
    .venv/bin/python -m venv "$folder" &&
        "$folder/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$pins" &&
        cp "$pins" "$folder/installed.txt"
}

[ $# -gt 0 ] || set -- "${ALL[@]}"
failed=()
for name in "$@"; do
    install "$name" || failed+=("$name")
done
[ ${#failed[@]} -eq 0 ] || { echo "not installed: ${failed[*]}" >&2; exit 1; }
