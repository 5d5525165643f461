"""Names of images: which ones are our registry's, and what an engine must ask for to get them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelplex.http.addresses import reachable
from modelplex.settings import Settings

# The path component and tag of the distribution project's reference grammar; ECR's own rule for
# repository names is the same but for its least length of two.
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = rf"(?P<repository>{_PART}(?:/{_PART})*)"
_REST = r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
_IMAGE = re.compile(rf"(?P<host>[^/]+)/{_NAME}{_REST}")
_ECR_HOST = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?")


@dataclass(frozen=True, slots=True)
class Place:
    """An image in our registry; `reference` is a tag or a digest."""

    repository: str
    reference: str

    @property
    def is_digest(self) -> bool:
        """Whether the reference names the content itself."""
        return self.reference.startswith("sha256:")


def address(settings: Settings) -> str:
    """Where this machine's engines reach the registry: HOST:PORT, without a scheme."""
    host = reachable(settings.host)
    return f"{f'[{host}]' if ':' in host else host}:{settings.registry_port}"


def place(settings: Settings, image: str) -> Place | None:
    """What an image's name means in our registry.

    Ours are ECR's names of the platform's account, in any region since there is one registry for
    all, and names that begin with the registry's own address. None for any other name, for one
    that is not well formed, and while there is no registry.
    """
    found = _IMAGE.fullmatch(image) if settings.registry else None
    if found is None or not _is_ours(settings, found["host"]):
        return None
    return Place(found["repository"], found["digest"] or found["tag"] or "latest")


def local(settings: Settings, image: str) -> str | None:
    """An image's name as an engine asks our registry for it, None where `place` is None."""
    found = place(settings, image)
    if found is None:
        return None
    mark = "@" if found.is_digest else ":"
    return f"{address(settings)}/{found.repository}{mark}{found.reference}"


def _is_ours(settings: Settings, host: str) -> bool:
    if found := _ECR_HOST.fullmatch(host):
        return found["account"] == settings.account
    return host in (address(settings), f"localhost:{settings.registry_port}")
