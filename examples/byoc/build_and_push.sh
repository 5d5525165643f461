#!/usr/bin/env bash
# The notebook's cell "Building and registering a container": builds the image of container/ and
# pushes it to ECR, whoever's ECR that is.
#
#     eval "$(modelplex env)"       # left out: it is Amazon's
#     ./build_and_push.sh [NAME]    # demo-byoc
#
# BASE is the base image, python:3.11-slim unless set: a hub's. base_image.sh makes one without a hub.
set -euo pipefail
cd "$(dirname "$0")"

# The name of our algorithm
algorithm_name=${1:-demo-byoc}
base=${BASE:-python:3.11-slim}
python=${PYTHON:-python3}

account=$(aws sts get-caller-identity --query Account --output text)
echo "Account $account"

# If the repository doesn't exist in ECR, create it.
if ! aws ecr describe-repositories --repository-names "$algorithm_name" >/dev/null; then
    echo "So it is created."
    aws ecr create-repository --repository-name "$algorithm_name" >/dev/null
fi
# On Amazon this is ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME; here it is where `docker push` finds
# the platform's registry. CreateModel takes the first form in both places.
fullname=$(aws ecr describe-repositories --repository-names "$algorithm_name" \
    --query 'repositories[0].repositoryUri' --output text):latest

# The notebook's `aws ecr get-login` is in no newer AWS CLI than version 1.
aws ecr get-login-password | docker login --username AWS --password-stdin "${fullname%%/*}"

# The server and what it imports, as wheels: packages are brought along, so that the build runs
# without a network and every bit of the image is known.
rm -rf container/wheels
"$python" -m pip download --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
    --python-version 3.11 --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
    --dest container/wheels --requirement container/requirements.txt
source=$(mktemp -d) # a wheel is built in its source folder, and leaves things behind there
trap 'rm -rf "$source"' EXIT
cp -r ../../pyproject.toml ../../README.md ../../src "$source"
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    --wheel-dir container/wheels "$source"

# Build the docker image locally with the image name and then push it to ECR with the full name.
docker build --quiet --build-arg "BASE=$base" --tag "$algorithm_name" container
docker tag "$algorithm_name" "$fullname"
docker push --quiet "$fullname"
