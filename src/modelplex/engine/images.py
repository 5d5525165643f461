"""Images that the engine has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelplex.engine.client import QUESTION_TIMEOUT_S, connected

MULTI_MODEL_LABEL = "com.amazonaws.sagemaker.capabilities.multi-models"


@dataclass(frozen=True, slots=True)
class Found:
    """An image of the engine. `id` is its content's digest; `digests` are `NAME@sha256:…` as
    registries know it, none for an image that was only built here."""

    id: str
    labels: dict[str, str]
    size_bytes: int
    digests: tuple[str, ...] = ()
    platform: str = ""  # "linux/amd64"


def find(url: str, name: str, timeout_s: float = QUESTION_TIMEOUT_S) -> Found | None:
    """What the engine has under a name, NAME@DIGEST or image id; None if nothing.

    Blocks for as long as `timeout_s` per answer. Raises EngineError.
    """
    with connected(url, timeout_s) as client:
        return look_up(client, name)


def look_up(client: Any, name: str) -> Found | None:
    """`find` in a conversation that is open already. Raises what the SDK does."""
    from docker.errors import APIError, ImageNotFound  # noqa: PLC0415 (an extra)

    try:
        return _found(client.inspect_image(name))
    except ImageNotFound:
        return None
    except APIError as error:
        if error.status_code == 400:  # "invalid reference format": no image has such a name
            return None
        raise


def missing_label(name: str, labels: dict[str, str]) -> str:
    """SageMaker's own sentence for an image that does not say it can hold many models; "" if it
    does. (CreateModel's ValidationException in aws/sagemaker-tensorflow-serving-container#156.)"""
    if labels.get(MULTI_MODEL_LABEL, "").lower() == "true":
        return ""
    return (
        f"Your Ecr Image {name} does not contain required {MULTI_MODEL_LABEL}=true Docker label(s)."
    )


def _found(document: dict[str, Any]) -> Found:
    return Found(
        id=str(document["Id"]),
        labels=dict((document.get("Config") or {}).get("Labels") or {}),
        size_bytes=int(document.get("Size") or 0),
        digests=tuple(document.get("RepoDigests") or ()),
        platform=f"{document.get('Os', '')}/{document.get('Architecture', '')}",
    )
