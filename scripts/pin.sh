#!/usr/bin/env bash
# Compiles requirements/*.in into pinned files with the hashes of the public index, and with no
# address or path of the machine that ran it. `scripts/pin.sh` keeps the pins that still fit,
# `scripts/pin.sh --upgrade` takes the newest versions.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet "uv>=0.9"

compile() { # FROM TO [option...]
    local from=$1 to=$2
    shift 2
    echo "$from -> $to"
    "$tools/bin/uv" pip compile "$from" --output-file "$to" --quiet --no-config \
        --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras \
        --python-version 3.11 --python-platform "${PLATFORM:-x86_64-manylinux_2_28}" \
        --custom-compile-command scripts/pin.sh "$@"
}

compile requirements/runtime.in requirements/runtime.txt "$@"
compile requirements/test.in requirements/test.txt "$@"
compile requirements/lint.in requirements/lint.txt "$@"
compile requirements/digits.in examples/digits/container/requirements.txt "$@"
compile requirements/mxnet.in examples/notebook/container/requirements.txt "$@"
compile requirements/mms.in requirements/mms.txt "$@"
compile requirements/aws.in requirements/aws.txt "$@"
compile requirements/byoc.in examples/byoc/container/requirements.txt "$@"
compile requirements/peers.in requirements/peers.txt "$@"
compile requirements/bench.in requirements/bench.txt "$@"
for peer in mlserver litserve ray; do
    compile "requirements/peer-$peer.in" "requirements/peer-$peer.txt" "$@"
done
# Its wheel wants a newer C library than the others.
PLATFORM=x86_64-manylinux_2_36 compile requirements/peer-triton.in requirements/peer-triton.txt "$@"
compile src/modelplex/images/builtin/python/requirements.in \
    src/modelplex/images/builtin/python/requirements.txt "$@"
compile src/modelplex/images/builtin/sklearn/requirements.in \
    src/modelplex/images/builtin/sklearn/requirements.txt "$@"
compile src/modelplex/images/builtin/xgboost/requirements.in \
    src/modelplex/images/builtin/xgboost/requirements.txt "$@"
compile src/modelplex/images/builtin/lightgbm/requirements.in \
    src/modelplex/images/builtin/lightgbm/requirements.txt "$@"
compile src/modelplex/images/builtin/onnx/requirements.in \
    src/modelplex/images/builtin/onnx/requirements.txt "$@"
# The CPU build of PyTorch is on no public index of pip's own: where it is, PIP_FIND_LINKS says.
compile src/modelplex/images/builtin/pytorch/requirements.in \
    src/modelplex/images/builtin/pytorch/requirements.txt \
    ${PIP_FIND_LINKS:+--find-links "$PIP_FIND_LINKS"} "$@"
compile requirements/peer-torchserve.in requirements/peer-torchserve.txt \
    ${PIP_FIND_LINKS:+--find-links "$PIP_FIND_LINKS"} "$@"
compile src/modelplex/images/builtin/mxnet/requirements.in \
    src/modelplex/images/builtin/mxnet/requirements.txt "$@"
