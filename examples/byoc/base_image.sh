#!/usr/bin/env bash
# Makes a base image where no hub can be reached: Debian 12 with its Python 3.11, out of Debian's own
# packages (apt-get install mmdebstrap; half a minute, as root).
#
#     ./base_image.sh [NAME]        # debian-python:bookworm
set -euo pipefail

name=${1:-debian-python:bookworm}
if docker image inspect "$name" >/dev/null 2>&1; then
    echo "The base image $name is there."
    exit
fi
echo "Making the base image $name ..."
mmdebstrap --quiet --variant=minbase --include=python3-venv,ca-certificates bookworm - |
    docker import - "$name" >/dev/null
