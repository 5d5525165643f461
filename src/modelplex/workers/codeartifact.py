"""pip's index in AWS CodeArtifact, for images that install a model's packages from there.

The variable CA_REPOSITORY_ARN names the repository, as for the SageMaker Inference Toolkit.
"""

from __future__ import annotations

import re

from modelplex.workers.errors import LoadFailed

_ARN = re.compile(
    r"arn:[^:]+:codeartifact:(?P<region>[^:]+):(?P<owner>[^:]+):repository/(?P<domain>[^/]+)/(?P<name>.+)"
)


def index_url(arn: str) -> str:
    """The address of the index, with a fresh token in it. Raises LoadFailed. Asks AWS: blocks."""
    found = _ARN.fullmatch(arn)
    if found is None:
        raise LoadFailed(f"CA_REPOSITORY_ARN is {arn!r}, and no CodeArtifact repository's ARN")
    try:
        import boto3  # noqa: PLC0415  slow, and rarely needed
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    except ImportError:
        raise LoadFailed("CA_REPOSITORY_ARN needs boto3 beside the server: install it") from None
    place = {"domain": found["domain"], "domainOwner": found["owner"]}
    try:
        client = boto3.Session().client("codeartifact", region_name=found["region"])
        token = client.get_authorization_token(**place)["authorizationToken"]
        place |= {"repository": found["name"], "format": "pypi"}
        endpoint: str = client.get_repository_endpoint(**place)["repositoryEndpoint"]
    except (BotoCoreError, ClientError) as error:
        raise LoadFailed(f"CodeArtifact does not let pip in: {error}") from error
    scheme, _, rest = endpoint.rstrip("/").partition("://")
    return f"{scheme}://aws:{token}@{rest}/simple/"
