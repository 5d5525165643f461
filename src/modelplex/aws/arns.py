"""Amazon Resource Names, log groups, and the names of images: what AWS calls things."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

LOG_GROUP_PREFIX = "/aws/sagemaker/Endpoints/"


@dataclass(frozen=True, slots=True)
class Arn:
    """One ARN, taken apart. `str()` puts it together again."""

    partition: str  # "aws", "aws-cn", "aws-us-gov"
    service: str
    region: str
    account: str
    resource: str  # "endpoint/demo"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for what is no ARN."""
        parts = text.split(":", 5)
        if len(parts) != 6 or parts[0] != "arn" or not (parts[1] and parts[2] and parts[5]):
            raise ValueError(
                f"{text!r} is no ARN; it looks like arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE"
            )
        return cls(*parts[1:])

    @property
    def kind(self) -> str:
        """The resource's kind: "endpoint" of endpoint/demo."""
        return self.resource.partition("/")[0]

    @property
    def name(self) -> str:
        """The resource's name, in SageMaker's ARNs in lower case: "demo" of endpoint/demo."""
        return self.resource.partition("/")[2]

    def __str__(self) -> str:
        parts = (self.partition, self.service, self.region, self.account, self.resource)
        return ":".join(("arn", *parts))


def partition(region: str) -> str:
    """The part of AWS that the region belongs to."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def sagemaker_arn(account: str, region: str, kind: str, name: str) -> str:
    """`kind` is "model", "endpoint-config" or "endpoint"; the name is written in lower case."""
    resource = f"{kind}/{name.lower()}"
    return str(Arn(partition(region), "sagemaker", region, account, resource))


def model_arn(account: str, region: str, name: str) -> str:
    """The ARN of a model."""
    return sagemaker_arn(account, region, "model", name)


def endpoint_config_arn(account: str, region: str, name: str) -> str:
    """The ARN of an endpoint configuration."""
    return sagemaker_arn(account, region, "endpoint-config", name)


def endpoint_arn(account: str, region: str, name: str) -> str:
    """The ARN of an endpoint."""
    return sagemaker_arn(account, region, "endpoint", name)


def role_arn(account: str, region: str, name: str) -> str:
    """The ARN of an IAM role. IAM is global: the region only says which partition."""
    return str(Arn(partition(region), "iam", "", account, f"role/{name}"))


def user_arn(account: str, region: str, name: str) -> str:
    """The ARN of an IAM user."""
    return str(Arn(partition(region), "iam", "", account, f"user/{name}"))


def log_group(endpoint: str) -> str:
    """The log group of an endpoint, as SageMaker names it."""
    return LOG_GROUP_PREFIX + endpoint


def log_group_arn(account: str, region: str, group: str) -> str:
    """The ARN of a log group, without the ":*" that some of the API's answers end it with."""
    return str(Arn(partition(region), "logs", region, account, f"log-group:{group}"))


def log_stream_arn(account: str, region: str, group: str, stream: str) -> str:
    """The ARN of one stream in a log group."""
    return f"{log_group_arn(account, region, group)}:log-stream:{stream}"


# -- images -------------------------------------------------------------------------------------

# A host with a dot or a port, or localhost, is a registry; anything else begins the name.
_REGISTRY = re.compile(r"(localhost|[\w-]+(\.[\w-]+)+|[\w-]+(?=:))(:\d+)?/", re.ASCII)
_PART = r"[a-z0-9]+([._-]+[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True)
class ImageName:
    """The part of an image's name that counts here: `str()` gives NAME:TAG."""

    name: str
    tag: str

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}"


def image_name(text: str) -> ImageName:
    """NAME and TAG of ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG and all shorter forms.

    The registry in front is dropped, the tag is "latest" where there is none, and a digest behind
    (@sha256:…) is dropped too: images are built here, so no registry's digest can fit them.
    Raises ValueError for what cannot be an image's name.
    """
    bare = text.partition("@")[0]
    if registry := _REGISTRY.match(bare):
        bare = bare[registry.end() :]
    name, colon, tag = bare.partition(":")
    if not _NAME.fullmatch(name) or (colon and not _TAG.fullmatch(tag)):
        raise ValueError(
            f"{text!r} is no image name; it looks like NAME, NAME:TAG or "
            "ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG, with NAME in lower case"
        )
    return ImageName(name, tag or "latest")
