#!/usr/bin/env bash
# Checks the types of the platform, and of each built-in image, which is a program of its own: its
# modules import each other by bare names, and frameworks that are not installed here.
set -euo pipefail
cd "$(dirname "$0")/.."

.venv/bin/mypy --exclude images/builtin/
for image in src/modelplex/images/builtin/*/; do
    MYPYPATH="src:$image" .venv/bin/mypy --ignore-missing-imports --no-warn-unused-ignores \
        --no-warn-return-any --allow-subclassing-any --explicit-package-bases "${image%/}"
done
