"""`modelplex rules` and `rollback`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.conftest import Command

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def _no_rules(command: Command, endpoint: str) -> Iterator[None]:
    """The endpoint is shared: it is left as it was."""
    yield
    for rule in command.json("rules", endpoint):
        command.ok("rules", endpoint, rule["pattern"], "--remove")


def test_rules_are_set_changed_shown_and_removed(command: Command, endpoint: str) -> None:
    """An option changes what it names; rules keep their order."""
    command.ok("rules", endpoint, "one*", "--pin", "--weight", "2.5")
    command.ok("rules", endpoint, "*", "--refresh")
    shown = command.ok("rules", endpoint, "one*", "--no-pin", "--residency-min", "60")
    assert shown.splitlines()[1].split() == ["one*", "-", "2.5", "60", "s", "-", "-"]
    assert [each["pattern"] for each in command.json("rules", endpoint)] == ["one*", "*"]


def test_what_is_wrong_with_a_rule_is_said(command: Command, endpoint: str) -> None:
    """By the platform's validation, or by the command itself."""
    said = command.fails("rules", endpoint, "*", "--weight", "-1")
    assert "'rules.1.member.weight' failed to satisfy constraint" in said
    assert "Give a PATTERN" in command.fails("rules", endpoint, "--pin", code=2)
    assert "no other option" in command.fails("rules", endpoint, "*", "--remove", "--pin", code=2)
    assert "There is no rule" in command.fails("rules", endpoint, "none", "--remove")


def test_a_rollback_needs_a_version_before(command: Command, endpoint: str) -> None:
    """Else nothing changes."""
    command.ok("invoke", endpoint, "one.tar.gz")
    assert "came before" in command.fails("rollback", endpoint, "one.tar.gz")
    assert "has a model named" in command.fails("rollback", endpoint, "never.tar.gz")
