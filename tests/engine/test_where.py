"""Which socket the engine is looked for at."""

from __future__ import annotations

import pytest

from modelplex.engine import locate

USER = {"XDG_RUNTIME_DIR": "/run/user/7"}


@pytest.mark.parametrize(
    ("setting", "environ", "usable", "url"),
    [
        ("off", {"DOCKER_HOST": "unix:///a"}, set(), ""),
        ("unix:///set", {"DOCKER_HOST": "unix:///a"}, set(), "unix:///set"),
        ("auto", {"DOCKER_HOST": "unix:///a"}, {"/var/run/docker.sock"}, "unix:///a"),
        ("auto", {}, {"/var/run/docker.sock"}, "unix:///var/run/docker.sock"),
        ("auto", {}, {"/run/podman/podman.sock"}, "unix:///run/podman/podman.sock"),
        ("auto", USER, {"/run/user/7/podman/podman.sock"}, "unix:///run/user/7/podman/podman.sock"),
        ("auto", USER, {"/run/user/7/docker.sock"}, "unix:///run/user/7/docker.sock"),
        ("auto", USER, set(), "unix:///var/run/docker.sock"),
    ],
)
def test_the_setting_wins_then_the_environment_then_what_is_there(
    setting: str, environ: dict[str, str], usable: set[str], url: str
) -> None:
    """With nothing there, Docker's usual place is named in what is said about that."""
    assert locate(setting, environ, usable.__contains__) == url
