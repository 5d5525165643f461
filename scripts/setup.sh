#!/usr/bin/env bash
# Makes .venv and installs the pinned requirements named in the arguments (runtime, test, lint) and
# modelplex itself, editable. Does nothing when that is what .venv already holds.
#
# Needs Python >= 3.11 with venv and pip. On Debian those are a package of their own: root gets it
# installed, everyone else is told. PYTHON names another interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

find_python() {
    local python
    for python in "${PYTHON:-}" python3.11 python3; do
        if [ -n "$python" ] && command -v "$python" >/dev/null &&
            "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            command -v "$python"
            return
        fi
    done
    say "modelplex needs Python 3.11 or newer, and none is on PATH. On Debian: apt-get install python3"
    return 1
}

make_venv() {
    local python
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
            say "$python has no ensurepip. On Debian: apt-get install python3-venv"
            return 1
        fi
        say "installing python3-venv: $python has no ensurepip"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
    fi
    say "making .venv with $python"
    "$python" -m venv --clear .venv
}

wanted() { # SET: what .venv must hold for this set, as one line
    cat "requirements/$1.txt" pyproject.toml | sha256sum | cut -d' ' -f1
}

[ -x .venv/bin/python ] && .venv/bin/python -c 'import pip' 2>/dev/null || make_venv

for name in "$@"; do
    stamp=.venv/installed-$name
    if [ "$(cat "$stamp" 2>/dev/null)" = "$(wanted "$name")" ]; then
        continue
    fi
    say "installing requirements/$name.txt"
    .venv/bin/pip install --quiet --disable-pip-version-check --require-hashes \
        -r "requirements/$name.txt"
    if [ "$name" = runtime ]; then
        .venv/bin/pip install --quiet --disable-pip-version-check --no-deps \
            --no-build-isolation --editable .
    fi
    wanted "$name" >"$stamp"
done
