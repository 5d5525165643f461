"""How an end reads, and what is said about a container that could not be started."""

from __future__ import annotations

from typing import Any

import pytest

from modelplex.engine.endings import Ending, platform_hint, read, refusal


@pytest.mark.parametrize(
    ("state", "quiet", "ours", "ending"),
    [
        ({"ExitCode": 3}, False, False, Ending("exit code 3", False)),
        ({"ExitCode": 0}, False, False, Ending("exit code 0", False)),
        ({"ExitCode": 143}, False, True, Ending("exit code 143, as after SIGTERM", False)),
        ({"ExitCode": 137}, False, False, Ending("exit code 137, as after SIGKILL", False)),
        (
            {"ExitCode": 137, "OOMKilled": True},
            *(False, False),
            Ending("out of memory (exit code 137, as after SIGKILL)", True),
        ),
        (
            {"ExitCode": 1, "OOMKilled": True},  # a process of it was killed, and it gave up
            *(False, False),
            Ending("out of memory (exit code 1)", True),
        ),
        (
            {"ExitCode": 137, "OOMKilled": False},
            *(True, False),
            Ending("out of memory (exit code 137, as after SIGKILL)", True),
        ),
        ({"ExitCode": 137}, True, True, Ending("exit code 137, as after SIGKILL", False)),
        ({"ExitCode": 255}, False, False, Ending("exit code 255", False)),
        ({"ExitCode": 127, "Error": "no sh"}, False, False, Ending("exit code 127: no sh", False)),
    ],
)
def test_an_end_is_read_from_the_state(
    state: dict[str, Any], quiet: bool, ours: bool, ending: Ending
) -> None:
    """Docker says what was killed for lack of memory; other engines keep quiet about it."""
    assert read(state, quiet=quiet, killed_by_us=ours) == ending


def test_a_failure_of_an_image_for_another_platform_says_so() -> None:
    """An end without a failure does not."""
    hint = platform_hint("linux/arm64", "linux/amd64")
    assert (
        "built for linux/arm64"
        in read({"ExitCode": 1}, quiet=False, killed_by_us=False, hint=hint).text
    )
    assert read({"ExitCode": 0}, quiet=False, killed_by_us=False, hint=hint).text == "exit code 0"
    assert hint in refusal("i", "exec /serve: exec format error", hint)
    assert platform_hint("linux/amd64", "linux/amd64") == platform_hint("/", "linux/amd64") == ""


def test_an_image_without_serve_is_told_what_serve_is() -> None:
    """The engine's own words come first."""
    said = refusal("i:1", 'exec: "serve": executable file not found in $PATH', "")
    assert said.startswith("The container of image i:1 could not be started: exec:")
    assert "docker run IMAGE serve" in said
