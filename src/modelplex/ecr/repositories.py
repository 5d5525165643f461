"""What is known of a repository beside its images, and what keeps that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Repository:
    """A place for images of one name. `immutable`: a tag stays with the image it was given to."""

    name: str
    arn: str
    created_at: float  # Unix seconds
    immutable: bool = False


class Repositories(Protocol):
    """All repositories of the account, with their tags (those of AWS, not of images)."""

    def get(self, name: str) -> Repository | None:
        """The repository of that name."""

    def all(self) -> list[Repository]:
        """Every repository."""

    def add(self, repository: Repository, tags: Iterable[tuple[str, str]]) -> None:
        """Keep a new one, whose name is free."""

    def delete(self, arn: str) -> None:
        """Forget one, with its tags."""

    def tags(self, arn: str) -> dict[str, str]:
        """The tags of one."""

    def set_tags(self, arn: str, tags: Iterable[tuple[str, str]]) -> None:
        """Add tags, or change their values."""

    def delete_tags(self, arn: str, keys: Iterable[str]) -> None:
        """Take tags away; keys that it does not have are passed over."""
