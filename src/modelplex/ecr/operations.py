"""ECR's operations: tokens, repositories and their tags. Those on images are in `images.py`.

The records of repositories are the caller's, the images are the registry's on the disk. Everything
here runs on the event loop but for the reading and deleting of images, which threads do.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from typing import Any

from modelplex.aws import arns
from modelplex.aws.errors import (
    InvalidParameterException,
    RepositoryAlreadyExistsException,
    RepositoryNotEmptyException,
    RepositoryNotFoundException,
    ServiceError,
    TooManyTagsException,
)
from modelplex.ecr import images, names, tokens
from modelplex.ecr.pages import page
from modelplex.ecr.repositories import Repositories, Repository
from modelplex.ecr.storage import Shelf
from modelplex.settings import Settings

Document = dict[str, Any]

TAGS_MAX = 50  # per repository, ECR's quota


class RegistryIsOff(ServiceError, status=501, code="NotImplemented"):
    """The platform was started without its registry."""


class Ecr:
    """Answers validated requests. `clock` tells Unix seconds."""

    def __init__(
        self,
        settings: Settings,
        repositories: Repositories,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._repositories = repositories
        self._clock = clock
        self._changing = asyncio.Lock()  # of which repositories there are
        self.operations: dict[str, Callable[[Document], Awaitable[Document]]] = {
            "GetAuthorizationToken": self._get_authorization_token,
            "CreateRepository": self._create_repository,
            "DescribeRepositories": self._describe_repositories,
            "DeleteRepository": self._delete_repository,
            "ListImages": self._on_images(images.list_images),
            "DescribeImages": self._on_images(images.describe_images),
            "BatchGetImage": self._on_images(images.batch_get_image),
            "BatchDeleteImage": self._on_images(images.batch_delete_image),
            "TagResource": self._tag_resource,
            "UntagResource": self._untag_resource,
            "ListTagsForResource": self._list_tags,
        }

    async def answer(self, operation: str, request: Document) -> Document:
        """One operation's answer. Raises ServiceError, for all of them while there is no registry:
        a repository that nothing can be pushed to would only put off the error."""
        if not self._settings.registry:
            raise RegistryIsOff(
                "This platform runs without a registry for images. Start it with "
                "`modelplex up --registry`."
            )
        return await self.operations[operation](request)

    async def _get_authorization_token(self, request: Document) -> Document:
        for registry in request.get("registryIds", []):
            if registry != self._settings.account:
                raise InvalidParameterException(
                    f"There is no registry with id '{registry}' here; "
                    f"the only one has the id '{self._settings.account}'."
                )
        password, expires_at = tokens.issue(self._settings.secret_key, self._clock())
        token = base64.b64encode(f"{tokens.USER}:{password}".encode()).decode()
        endpoint = f"http://{names.address(self._settings)}"
        data = {"authorizationToken": token, "expiresAt": expires_at, "proxyEndpoint": endpoint}
        return {"authorizationData": [data]}

    # -- repositories ----------------------------------------------------------------------------

    async def _create_repository(self, request: Document) -> Document:
        name = request["repositoryName"]
        self._refuse(request)
        tags = _pairs(request.get("tags", []))
        _check_count(len(tags))
        immutable = request.get("imageTagMutability") == "IMMUTABLE"
        arn = arns.repository_arn(self._settings.account, self._settings.region, name)
        repository = Repository(name, arn, round(self._clock(), 3), immutable)
        async with self._changing:
            if self._repositories.get(name) is not None:
                raise RepositoryAlreadyExistsException(
                    f"The repository with name '{name}' already exists in the registry with id "
                    f"'{self._settings.account}'"
                )
            await asyncio.to_thread(self._shelf(name).clear)  # what a killed deletion left
            self._repositories.add(repository, tags.items())
        return {"repository": self._described(repository)}

    def _refuse(self, request: Document) -> None:
        """InvalidParameterException for what would otherwise be promised and not kept."""
        ours = self._settings.account
        mutability = request.get("imageTagMutability", "")
        scan = request.get("imageScanningConfiguration", {}).get("scanOnPush", False)
        encryption = request.get("encryptionConfiguration", {}).get("encryptionType", "AES256")
        wishes = {
            "registryId of another account": request.get("registryId", ours) != ours,
            f"imageTagMutability {mutability}": mutability.endswith("_WITH_EXCLUSION"),
            "imageScanningConfiguration.scanOnPush": scan,
            f"encryptionConfiguration.encryptionType {encryption}": encryption != "AES256",
        }
        for what, is_asked in wishes.items():
            if is_asked:
                raise InvalidParameterException(f"{what} is not supported by modelplex yet.")

    async def _describe_repositories(self, request: Document) -> Document:
        asked = request.get("repositoryNames")
        if asked is not None:
            found = [self._find({**request, "repositoryName": name}) for name in asked]
            return {"repositories": [self._described(each) for each in found]}
        ours = request.get("registryId", self._settings.account) == self._settings.account
        by_name = {each.name: each for each in self._repositories.all()} if ours else {}
        chosen, more = page(sorted(by_name), request, "DescribeRepositories")
        return {"repositories": [self._described(by_name[name]) for name in chosen], **more}

    async def _delete_repository(self, request: Document) -> Document:
        async with self._changing:
            repository = self._find(request)
            shelf = self._shelf(repository.name)
            left = await asyncio.to_thread(shelf.images)
            if left and not request.get("force"):
                raise RepositoryNotEmptyException(
                    f"The repository with name '{repository.name}' in registry with id "
                    f"'{self._settings.account}' cannot be deleted because it still contains images"
                )
            self._repositories.delete(repository.arn)  # first: nobody can push to it any more
            await asyncio.to_thread(shelf.clear)
        return {"repository": self._described(repository)}

    def _described(self, repository: Repository) -> Document:
        return {
            "repositoryArn": repository.arn,
            "registryId": self._settings.account,
            "repositoryName": repository.name,
            "repositoryUri": f"{names.address(self._settings)}/{repository.name}",
            "createdAt": repository.created_at,
            "imageTagMutability": "IMMUTABLE" if repository.immutable else "MUTABLE",
            "imageScanningConfiguration": {"scanOnPush": False},
            "encryptionConfiguration": {"encryptionType": "AES256"},
        }

    def _find(self, request: Document) -> Repository:
        """The repository that a request names. Raises RepositoryNotFoundException."""
        name = request["repositoryName"]
        registry = request.get("registryId", self._settings.account)
        found = self._repositories.get(name) if registry == self._settings.account else None
        if found is None:
            raise RepositoryNotFoundException(
                f"The repository with name '{name}' does not exist in the registry with id "
                f"'{registry}'"
            )
        return found

    def _shelf(self, name: str) -> Shelf:
        return Shelf(self._settings.data / "registry", name)

    def _on_images(
        self, operation: Callable[[images.Place, Document], Document]
    ) -> Callable[[Document], Awaitable[Document]]:
        async def answer(request: Document) -> Document:
            repository = self._find(request)
            place = images.Place(
                self._settings.account, repository.name, self._shelf(repository.name)
            )
            return await asyncio.to_thread(operation, place, request)

        return answer

    # -- tags ------------------------------------------------------------------------------------

    async def _tag_resource(self, request: Document) -> Document:
        arn = self._arn(request)
        added = _pairs(request["tags"])
        _check_count(len({**self._repositories.tags(arn), **added}))
        self._repositories.set_tags(arn, added.items())
        return {}

    async def _untag_resource(self, request: Document) -> Document:
        self._repositories.delete_tags(self._arn(request), request["tagKeys"])
        return {}

    async def _list_tags(self, request: Document) -> Document:
        tags = self._repositories.tags(self._arn(request))
        return {"tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def _arn(self, request: Document) -> str:
        arn: str = request["resourceArn"]
        prefix = arns.repository_arn(self._settings.account, self._settings.region, "")
        if not arn.startswith(prefix):
            raise InvalidParameterException(
                f"Invalid parameter at 'resourceArn': '{arn[:256]}' is not the ARN of a repository "
                f"of this registry, which begins with '{prefix}'."
            )
        return self._find({"repositoryName": arn.removeprefix(prefix)}).arn


def _pairs(tags: list[Document]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


def _check_count(count: int) -> None:
    if count > TAGS_MAX:
        raise TooManyTagsException(
            f"The repository would have {count} tags; it may have {TAGS_MAX}."
        )
