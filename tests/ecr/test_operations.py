"""ECR's operations over records in memory and a registry's folder."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from modelplex.aws import errors, shapes
from modelplex.control.records import Records
from modelplex.control.repositories import RecordedRepositories
from modelplex.ecr import tokens
from modelplex.ecr.operations import Ecr, RegistryIsOff
from modelplex.settings import Settings
from tests.ecr import layout
from tests.support.answers import check_answer

NOW = 1_800_000_000.0


class Account:
    """One account's ECR; every answer is held against botocore's model."""

    def __init__(self, data: Path, *, registry: bool = True) -> None:
        self.folder = data / "registry"
        self.settings = Settings(
            data=data, registry=registry, registry_port=5000, secret_key="a-secret-key"
        )
        self.ecr = Ecr(self.settings, RecordedRepositories(Records(":memory:")), lambda: NOW)

    def call(self, operation: str, **members: Any) -> Any:
        """One call."""
        model = shapes.load("ecr")
        request = shapes.validate(model, operation, members)
        answer = asyncio.run(self.ecr.answer(operation, request))
        check_answer(model, operation, answer)
        return answer

    def push(self, size: int, *tags: str) -> str:
        """An image of the repository `demo`."""
        return layout.push(self.folder, "demo", layout.manifest(size), *tags)


@pytest.fixture
def account(tmp_path: Path) -> Account:
    """An account with a registry and one repository, `demo`."""
    account = Account(tmp_path)
    account.call("CreateRepository", repositoryName="demo")
    return account


def test_every_operation_of_the_slice_is_served(account: Account) -> None:
    """And nothing else."""
    assert set(account.ecr.operations) == set(shapes.load("ecr").operations)


def test_without_a_registry_every_call_says_how_to_start_one(tmp_path: Path) -> None:
    """With 501, which no SDK tries again."""
    with pytest.raises(RegistryIsOff, match="modelplex up --registry"):
        Account(tmp_path, registry=False).call("GetAuthorizationToken")


def test_a_token_is_what_docker_login_takes(account: Account) -> None:
    """User and password, until when, and for which address."""
    (data,) = account.call("GetAuthorizationToken")["authorizationData"]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    assert user == "AWS"
    assert tokens.check("a-secret-key", password, NOW)
    assert data["expiresAt"] == NOW + 12 * 3600
    assert data["proxyEndpoint"] == "http://127.0.0.1:5000"
    account.call("GetAuthorizationToken", registryIds=["123456789012"])
    with pytest.raises(errors.InvalidParameterException, match="999999999999"):
        account.call("GetAuthorizationToken", registryIds=["999999999999"])


# -- repositories -------------------------------------------------------------------------------


def test_a_repository_s_life(account: Account) -> None:
    """Created once, described, deleted; then it is not there."""
    made = account.call("CreateRepository", repositoryName="team/x", imageTagMutability="IMMUTABLE")
    assert made["repository"]["repositoryUri"] == "127.0.0.1:5000/team/x"
    arn = "arn:aws:ecr:us-west-2:123456789012:repository/team/x"
    assert made["repository"]["repositoryArn"] == arn
    assert made["repository"]["imageTagMutability"] == "IMMUTABLE"
    with pytest.raises(errors.RepositoryAlreadyExistsException, match="'team/x' already exists"):
        account.call("CreateRepository", repositoryName="team/x")
    found = account.call("DescribeRepositories", repositoryNames=["team/x"])["repositories"]
    assert found == [made["repository"]]
    assert account.call("DeleteRepository", repositoryName="team/x") == made
    with pytest.raises(
        errors.RepositoryNotFoundException,
        match="'team/x' does not exist in the registry with id '123456789012'",
    ):
        account.call("DescribeRepositories", repositoryNames=["demo", "team/x"])


def test_repositories_come_in_pages(account: Account) -> None:
    """A token is good for its own question alone."""
    for name in ("aa", "bb", "cc"):
        account.call("CreateRepository", repositoryName=name)
    names: list[str] = []
    more: dict[str, str] = {}
    while True:
        page = account.call("DescribeRepositories", maxResults=2, **more)
        names += [each["repositoryName"] for each in page["repositories"]]
        if "nextToken" not in page:
            break
        more = {"nextToken": page["nextToken"]}
    assert names == ["aa", "bb", "cc", "demo"]
    with pytest.raises(errors.InvalidParameterException, match="nextToken"):
        account.call("ListImages", repositoryName="demo", **more)


def test_another_registry_has_nothing(account: Account) -> None:
    """There is one account."""
    other = {"registryId": "999999999999"}
    assert account.call("DescribeRepositories", **other) == {"repositories": []}
    with pytest.raises(errors.RepositoryNotFoundException, match="with id '999999999999'"):
        account.call("ListImages", repositoryName="demo", **other)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"registryId": "999999999999"}, "registryId"),
        ({"imageTagMutability": "IMMUTABLE_WITH_EXCLUSION"}, "EXCLUSION"),
        ({"imageScanningConfiguration": {"scanOnPush": True}}, "scanOnPush"),
        ({"encryptionConfiguration": {"encryptionType": "KMS"}}, "KMS"),
    ],
)
def test_what_cannot_be_kept_is_not_promised(
    account: Account, members: dict[str, Any], words: str
) -> None:
    """Defaults that are spelled out are fine."""
    with pytest.raises(errors.InvalidParameterException, match=words):
        account.call("CreateRepository", repositoryName="x1", **members)
    account.call(
        "CreateRepository",
        repositoryName="x1",
        imageScanningConfiguration={"scanOnPush": False},
        encryptionConfiguration={"encryptionType": "AES256"},
    )


def test_a_repository_with_images_is_deleted_by_force_alone(account: Account) -> None:
    """Made again, it is empty."""
    account.push(1)
    with pytest.raises(errors.RepositoryNotEmptyException, match="still contains images"):
        account.call("DeleteRepository", repositoryName="demo")
    account.call("DeleteRepository", repositoryName="demo", force=True)
    account.push(2, "left")  # as a platform that was killed in the middle of it leaves it
    account.call("CreateRepository", repositoryName="demo")
    assert account.call("ListImages", repositoryName="demo") == {"imageIds": []}


def test_tags_of_a_repository(account: Account) -> None:
    """Set at its creation and later, 50 at most."""
    tags = [{"Key": "a", "Value": "1"}]
    made = account.call("CreateRepository", repositoryName="x1", tags=tags)
    arn = {"resourceArn": made["repository"]["repositoryArn"]}
    account.call("TagResource", **arn, tags=[{"Key": "b", "Value": "2"}])
    account.call("UntagResource", **arn, tagKeys=["a", "never"])
    assert account.call("ListTagsForResource", **arn) == {"tags": [{"Key": "b", "Value": "2"}]}
    many = [{"Key": str(number), "Value": ""} for number in range(50)]
    with pytest.raises(errors.TooManyTagsException, match="51 tags"):
        account.call("TagResource", **arn, tags=many)
    with pytest.raises(errors.InvalidParameterException, match="not the ARN"):
        account.call("ListTagsForResource", resourceArn="arn:aws:s3:::bucket")


# -- images -------------------------------------------------------------------------------------


def test_listing_images(account: Account) -> None:
    """One row per tag, and one for an image without tags."""
    first, second = account.push(1, "v1", "v2"), account.push(2)

    def rows(**members: Any) -> set[tuple[str, str | None]]:
        found = account.call("ListImages", repositoryName="demo", **members)["imageIds"]
        return {(each["imageDigest"], each.get("imageTag")) for each in found}

    assert rows() == {(first, "v1"), (first, "v2"), (second, None)}
    assert rows(filter={"tagStatus": "UNTAGGED"}) == {(second, None)}
    assert rows(filter={"tagStatus": "TAGGED"}) == {(first, "v1"), (first, "v2")}
    assert rows(filter={"imageStatus": "ARCHIVED"}) == set()


def test_describing_images(account: Account) -> None:
    """Sizes are the layers' and the configuration's; a list is as large as its largest image."""
    first = account.push(100, "v1")
    index = layout.push(account.folder, "demo", {"manifests": [{"digest": first}]}, "all")
    (one,) = account.call("DescribeImages", repositoryName="demo", imageIds=[{"imageTag": "v1"}])[
        "imageDetails"
    ]
    assert (one["imageDigest"], one["imageTags"], one["imageSizeInBytes"]) == (first, ["v1"], 107)
    assert one["imageManifestMediaType"] == layout.MANIFEST
    assert one["artifactMediaType"] == layout.CONFIG
    found = account.call("DescribeImages", repositoryName="demo")["imageDetails"]
    (listed,) = [each for each in found if each["imageDigest"] == index]
    assert listed["imageSizeInBytes"] == 107
    assert listed["imageManifestMediaType"] == "application/vnd.oci.image.index.v1+json"
    with pytest.raises(errors.ImageNotFoundException, match=r"imageTag:'v9'.*'demo'"):
        account.call("DescribeImages", repositoryName="demo", imageIds=[{"imageTag": "v9"}])
    ids = [{"imageTag": "v1"}]
    with pytest.raises(errors.InvalidParameterException, match="maxResults"):
        account.call("DescribeImages", repositoryName="demo", imageIds=ids, maxResults=1)


def test_images_come_in_pages(account: Account) -> None:
    """Each once."""
    pushed = {account.push(size, f"v{size}") for size in range(5)}
    found: list[str] = []
    more: dict[str, str] = {}
    while not found or more:
        page = account.call("DescribeImages", repositoryName="demo", maxResults=2, **more)
        found += [each["imageDigest"] for each in page["imageDetails"]]
        more = {"nextToken": page["nextToken"]} if "nextToken" in page else {}
    assert len(found) == 5
    assert set(found) == pushed


def test_getting_manifests(account: Account) -> None:
    """As they were pushed; what is not there is told beside them."""
    digest = account.push(1, "v1")
    ids = [{"imageTag": "v1"}, {"imageTag": "v9"}, {}, {"imageDigest": "md5"}]
    ids.append({"imageDigest": "sha256:" + "0" * 64, "imageTag": "v1"})
    answer = account.call("BatchGetImage", repositoryName="demo", imageIds=ids)
    (image,) = answer["images"]
    assert image["imageId"] == {"imageDigest": digest, "imageTag": "v1"}
    assert image["imageManifest"].startswith('{"schemaVersion": 2')
    assert [each["failureCode"] for each in answer["failures"]] == [
        "ImageNotFound",
        "MissingDigestAndTag",
        "InvalidImageDigest",
        "ImageTagDoesNotMatchDigest",
    ]
    kinds = ["application/vnd.oci.image.manifest.v1+json"]
    answer = account.call(
        "BatchGetImage", repositoryName="demo", imageIds=ids[:1], acceptedMediaTypes=kinds
    )
    assert answer["images"] == []


def test_deleting_images(account: Account) -> None:
    """By tag, the image goes with its last one; by digest, with all of them at once."""
    first, second = account.push(1, "v1", "v2"), account.push(2, "w1", "w2")

    def delete(*ids: dict[str, str]) -> Any:
        return account.call("BatchDeleteImage", repositoryName="demo", imageIds=list(ids))

    def tags() -> list[tuple[str, ...]]:
        rows = account.call("DescribeImages", repositoryName="demo")["imageDetails"]
        return sorted(tuple(each["imageTags"]) for each in rows)

    assert delete({"imageTag": "v1"})["imageIds"] == [{"imageDigest": first, "imageTag": "v1"}]
    assert tags() == [("v2",), ("w1", "w2")]
    delete({"imageTag": "v2"})
    assert tags() == [("w1", "w2")]
    answer = delete({"imageDigest": second}, {"imageTag": "w1"})
    assert [each["imageTag"] for each in answer["imageIds"]] == ["w1", "w2"]
    assert [each["failureCode"] for each in answer["failures"]] == ["ImageNotFound"]
    assert tags() == []
