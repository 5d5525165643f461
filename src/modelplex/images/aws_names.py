"""AWS's own framework images by name, and which of our built-in images serves their models.

The repositories are those of the SageMaker Python SDK 2.257 (`image_uri_config/*.json`, as
`sagemaker.image_uris.retrieve` gives them). Accounts and regions are many and say nothing; neither
does the tag: the built-in image has one version of its framework, the newest that it was pinned to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BUILTIN_OF = {
    "sagemaker-scikit-learn": "sklearn",
    "sagemaker-xgboost": "xgboost",
    "xgboost": "xgboost",  # the algorithm's first releases
    "pytorch-inference": "pytorch",
    "pytorch-inference-graviton": "pytorch",
    "sagemaker-pytorch": "pytorch",  # until 1.1
    "mxnet-inference": "mxnet",
    "sagemaker-mxnet": "mxnet",  # until 1.4
    "sagemaker-mxnet-serving": "mxnet",
}
_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr(?:-fips)?\.[a-z0-9-]+\.(?:amazonaws\.com(?:\.cn)?|[a-z0-9.-]+)"
    r"/(?P<repository>[a-z0-9._/-]+)(?::[\w.-]{1,128})?(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class EcrName:
    """The parts of an ECR address that decide what it means here."""

    account: str
    repository: str


def parse(image: str) -> EcrName | None:
    """The parts of an address in ECR; None for any other name."""
    match = _ECR.fullmatch(image)
    return EcrName(match["account"], match["repository"]) if match else None


def builtin_of(name: EcrName) -> str | None:
    """The built-in image for one of AWS's framework repositories; None for other repositories."""
    return _BUILTIN_OF.get(name.repository)


def repositories(builtin: str) -> list[str]:
    """The AWS repositories that a built-in image stands for."""
    return [each for each, name in _BUILTIN_OF.items() if name == builtin]
