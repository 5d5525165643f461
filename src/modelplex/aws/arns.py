"""Amazon Resource Names and log groups: what AWS calls things."""

from __future__ import annotations


def _arn(service: str, region: str, account: str, resource: str) -> str:
    partition = "aws-cn" if region.startswith("cn-") else "aws"
    partition = "aws-us-gov" if region.startswith("us-gov-") else partition
    place = "" if service == "iam" else region  # IAM is global, within its partition
    return f"arn:{partition}:{service}:{place}:{account}:{resource}"


def sagemaker_arn(account: str, region: str, kind: str, name: str) -> str:
    """`kind` is "model", "endpoint-config" or "endpoint"; the name is written in lower case."""
    return _arn("sagemaker", region, account, f"{kind}/{name.lower()}")


def role_arn(account: str, region: str, name: str) -> str:
    """The ARN of an IAM role."""
    return _arn("iam", region, account, f"role/{name}")


def user_arn(account: str, region: str, name: str) -> str:
    """The ARN of an IAM user."""
    return _arn("iam", region, account, f"user/{name}")


def repository_arn(account: str, region: str, name: str) -> str:
    """The ARN of a repository for container images."""
    return _arn("ecr", region, account, f"repository/{name}")


def log_group(endpoint: str) -> str:
    """The log group of an endpoint, as SageMaker names it."""
    return f"/aws/sagemaker/Endpoints/{endpoint}"


def log_group_arn(account: str, region: str, group: str) -> str:
    """The ARN of a log group, without the ":*" that some of the API's answers end it with."""
    return _arn("logs", region, account, f"log-group:{group}")


def log_stream_arn(account: str, region: str, group: str, stream: str) -> str:
    """The ARN of one stream in a log group."""
    return f"{log_group_arn(account, region, group)}:log-stream:{stream}"
