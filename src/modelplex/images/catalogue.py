"""What a name in CreateModel's Image means: the first of these that knows it.

1. an image built by `modelplex build`, by NAME[:TAG] or as an address in ECR;
2. a built-in image, `modelplex/NAME`, or one of AWS's framework images, which it stands for;
3. an image of the container engine; one of our registry; or, with another registry's host in its
   name, one that is pulled when an instance starts.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modelplex.images import aws_names, builtin_images
from modelplex.images.store import HANDLER, ImageStore

OCI = "oci"  # the third kind of image, beside handler and command
_HOST = re.compile(r"(?:localhost|[^/]*[.:][^/]*)/.+")  # as Docker tells a registry's host


class NotFound(Exception):
    """Nobody knows the image; the text says who was asked and what to do."""


class EngineSilent(Exception):
    """There is no container engine to be asked now; the text says why."""


class EngineOff(EngineSilent):
    """There shall be none."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a name stands for. `hash` names the content of an image of ours, `reference` is what
    the engine is asked for."""

    kind: str  # HANDLER, COMMAND or OCI
    name: str
    hash: str = ""
    reference: str = ""

    def document(self) -> dict[str, Any]:
        """For a record; `read` makes it a value again."""
        own = {"Reference": self.reference} if self.kind == OCI else {"Hash": self.hash}
        return {"Kind": self.kind, "Name": self.name, **own}

    @property
    def resolved(self) -> str:
        """NAME@DIGEST where the digest is known, as DescribeEndpoint's ResolvedImage."""
        if self.kind != OCI:
            return f"{self.name.partition(':')[0]}@sha256:{self.hash}"
        if self.reference.startswith("sha256:"):
            return f"{without_tag(self.name)}@{self.reference}"
        return self.reference


def read(document: Mapping[str, Any]) -> Named:
    """A record's image; older records have handler images only, and do not say so."""
    kind, reference = document.get("Kind", HANDLER), document.get("Reference", "")
    return Named(kind, document["Name"], document.get("Hash", ""), reference)


def without_tag(name: str) -> str:
    """An image's name without tag and digest."""
    head, slash, last = name.partition("@")[0].rpartition("/")
    return head + slash + last.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Outside:
    """Who else may know an image.

    `engine`: the id of an image by its name, "" for none; raises EngineSilent and EngineOff.
    `registry`: the digest of an image in our registry, "" for none.
    """

    account: str  # ours
    engine: Callable[[str], Awaitable[str]]
    registry: Callable[[str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All images that can be named."""

    store: ImageStore
    outside: Outside

    async def resolve(self, image: str) -> Named:
        """What `image` means now. Raises NotFound."""
        return self._own(image) or await self._containers(image)

    def _own(self, image: str) -> Named | None:
        """An image that modelplex runs itself."""
        if builtin := self._builtin(image):
            return Named(HANDLER, builtin_images.full_name(builtin), builtin_images.digest(builtin))
        if built := self.store.resolve(image):
            return Named(built.kind, built.name, built.hash)
        return None

    def _builtin(self, image: str) -> str | None:
        """A name with our prefix can be nobody else's; one of AWS's may have been built here."""
        if found := builtin_images.find(image):
            return found
        ecr = aws_names.parse(image)
        if ecr is None or ecr.account == self.outside.account or self.store.resolve(image):
            return None
        name = aws_names.builtin_of(ecr)
        return name if name in builtin_images.names() else None

    async def _containers(self, image: str) -> Named:
        """An image of an engine. One that is silent now may answer when an instance starts; if it
        does not, the instance says so."""
        if image.startswith(builtin_images.PREFIX):
            raise NotFound(_not_built(image))
        found, silence = "", "Neither the container engine nor a registry has it."
        try:
            found = await self.outside.engine(image)
        except EngineOff as error:
            raise NotFound(f"{_not_built(image)} {error}") from None
        except EngineSilent as error:
            silence = str(error)
        if found:
            return Named(OCI, image, reference=found)
        if digest := await self.outside.registry(image):
            return Named(OCI, image, reference=f"{without_tag(image)}@{digest}")
        ecr = aws_names.parse(image)
        if _HOST.fullmatch(image) and (ecr is None or ecr.account != self.outside.account):
            return Named(OCI, image, reference=image)
        raise NotFound(f"{_not_built(image)} {silence}")


def _not_built(image: str) -> str:
    if image.startswith(builtin_images.PREFIX):
        known = (builtin_images.PREFIX + each for each in builtin_images.names())
        return f"The built-in images are {', '.join(known)}."
    return "No image of that name was built with modelplex build (modelplex images lists them)."
