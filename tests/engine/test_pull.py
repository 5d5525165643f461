"""What is said while an image is pulled, and when it cannot be."""

from __future__ import annotations

import pytest

from modelplex.engine.pull import Progress, failure


def test_progress_counts_what_is_downloaded() -> None:
    """Layers that the engine has already, and unpacking, count nothing."""
    progress = Progress()
    assert str(progress) == "asking the registry"
    for event in (
        {"status": "Already exists", "id": "a", "progressDetail": {}},
        {
            "status": "Downloading",
            "id": "b",
            "progressDetail": {"current": 10**6, "total": 3 * 10**6},
        },
        {"status": "Downloading", "id": "c", "progressDetail": {"current": 10**6, "total": 10**6}},
        {"status": "Extracting", "id": "c", "progressDetail": {"current": 5, "total": 10**6}},
    ):
        progress.take(event)
    assert str(progress) == "2.0 of 4.0 MB"
    progress.take({"status": "Download complete", "id": "b", "progressDetail": {}})
    assert str(progress) == "4.0 of 4.0 MB"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("manifest for r/x:1 not found: manifest unknown: manifest unknown", "does not exist"),
        ("unauthorized: authentication required", "docker login"),
        ("Head http://r/v2/: no basic auth credentials", "docker login"),
        ("no matching manifest for linux/arm64/v8 in the manifest list", "platform"),
        ("dial tcp 127.0.0.1:1: connect: connection refused", "could not be pulled: dial tcp"),
    ],
)
def test_a_refused_pull_says_which_kind_it_is(text: str, said: str) -> None:
    """And what the registry said, and which image it was."""
    sentence = failure("r/x:1", text)
    assert said in sentence
    assert text in sentence
    assert "r/x:1" in sentence
