"""Bringing an image from its registry into the engine, within a limit."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from modelplex.engine.client import brief, connected
from modelplex.engine.errors import NoEngine, PullFailed

LINE_S = 3.0  # between two lines of progress
_MB = 1_000_000
_REFUSED = ("unauthorized", "denied", "authentication required", "no basic auth", "forbidden")
_ABSENT = ("manifest unknown", "not found", "name unknown", "does not exist")
_PLATFORM = ("no matching manifest", "no image found in manifest list", "no child with platform")


@dataclass(slots=True)
class Progress:
    """How far a pull has come, out of the engine's events."""

    done_bytes: dict[str, int] = field(default_factory=dict)  # by layer
    all_bytes: dict[str, int] = field(default_factory=dict)

    def take(self, event: dict[str, Any]) -> None:
        """Only downloads count: unpacking repeats the same bytes."""
        detail, layer = event.get("progressDetail") or {}, str(event.get("id", ""))
        if event.get("status") == "Downloading" and detail.get("total"):
            self.all_bytes[layer] = int(detail["total"])
            self.done_bytes[layer] = int(detail.get("current", 0))
        elif event.get("status") == "Download complete":
            self.done_bytes[layer] = self.all_bytes.get(layer, 0)

    def __str__(self) -> str:
        done, total = sum(self.done_bytes.values()) / _MB, sum(self.all_bytes.values()) / _MB
        return f"{done:.1f} of {total:.1f} MB" if total else "asking the registry"


def pull(
    url: str,
    name: str,
    credentials: tuple[str, str] | None,
    *,
    timeout_s: float,
    on_progress: Callable[[str], None],
    stop: threading.Event,
) -> None:
    """Have the engine pull an image by NAME[:TAG] or NAME@DIGEST. Blocks.

    Without `credentials` (user and password) those of this user's `docker login` are used, if any.
    The engine drops the pull when it is given up: after `timeout_s`, or when `stop` is set, which
    is seen at the engine's next word. Raises PullFailed and NoEngine.
    """
    progress, began = Progress(), time.monotonic()
    deadline, next_line = began + timeout_s, began
    try:
        for event in _events(url, name, credentials, timeout_s):
            if problem := event.get("error"):
                raise PullFailed(failure(name, str(problem)))
            progress.take(event)
            now = time.monotonic()
            if stop.is_set():
                raise PullFailed(f"The pull of image {name} was given up.")
            if now > deadline:
                raise PullFailed(too_slow(name, timeout_s, str(progress)))
            if now >= next_line:
                on_progress(f"Pulling image {name}: {progress}.")
                next_line = now + LINE_S
    except NoEngine:
        if time.monotonic() < deadline:
            raise
        raise PullFailed(too_slow(name, timeout_s, str(progress))) from None
    on_progress(f"Pulled image {name} in {time.monotonic() - began:.1f} s.")


def failure(name: str, text: str) -> str:
    """A sentence for what a registry or the engine says about a pull."""
    said, lower = brief(text), text.lower()
    if any(word in lower for word in _PLATFORM):
        return f"The image {name} is not built for the platform of the container engine: {said}."
    if any(word in lower for word in _REFUSED):
        return (
            f"The image {name} is not there, or its registry does not give it with these "
            f"credentials: {said}. Log in with docker login, or see to the registry's permissions."
        )
    if any(word in lower for word in _ABSENT):
        return f"The image {name} does not exist: {said}."
    return f"The image {name} could not be pulled: {said}."


def too_slow(name: str, timeout_s: float, progress: str) -> str:
    """The sentence for a pull that was given up."""
    return (
        f"The image {name} was not pulled within {timeout_s:g} s ({progress}); the setting "
        "image_pull_timeout_s is how long it may take."
    )


def _events(url: str, name: str, credentials: tuple[str, str] | None, timeout_s: float) -> Any:
    """The engine's events as they come. The SDK's own pull has no limit on the time between two."""
    from docker.utils import parse_repository_tag  # noqa: PLC0415 (an extra)

    repository, tag = parse_repository_tag(name)
    with connected(url, timeout_s) as client:
        answer = client.post(
            f"{client.base_url}/v{client.api_version}/images/create",
            params={"fromImage": repository, "tag": tag or "latest"},
            headers=_authorization(repository, credentials),
            stream=True,
            timeout=timeout_s,
        )
        with answer:
            if answer.status_code >= 400:
                raise PullFailed(failure(name, _message(answer)))
            yield from (json.loads(line) for line in answer.iter_lines() if line.strip())


def _message(answer: Any) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return str(answer.text)


def _authorization(repository: str, credentials: tuple[str, str] | None) -> dict[str, str]:
    from docker import auth  # noqa: PLC0415 (an extra)

    if credentials:
        known: Any = dict(zip(("username", "password"), credentials, strict=True))
    else:
        registry, _ = auth.resolve_repository_name(repository)
        known = auth.resolve_authconfig(auth.load_config(), registry)
    return {"X-Registry-Auth": auth.encode_header(known).decode()} if known else {}
