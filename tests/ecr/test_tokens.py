"""Tokens: good for a while, for one platform, and for nothing else."""

from __future__ import annotations

import pytest

from modelplex.ecr import tokens

KEY = "a-secret-key"


def test_a_token_is_good_until_it_expires() -> None:
    """For 12 hours, as ECR's."""
    password, expires_at = tokens.issue(KEY, 1000.5)
    assert expires_at == 1000 + 12 * 3600
    assert tokens.check(KEY, password, expires_at - 1)
    assert not tokens.check(KEY, password, expires_at)
    assert tokens.expiry(KEY, password) == expires_at


def test_a_token_of_another_platform_is_none() -> None:
    """Nor is one whose time was changed."""
    password, _ = tokens.issue(KEY, 1000)
    assert tokens.expiry("another-key", password) is None
    later, _ = tokens.issue("another-key", 99999)
    assert not tokens.check(KEY, later[:10] + password[10:], 1000)


@pytest.mark.parametrize("nonsense", ["", "x", "ü", "AAAA", "=", "A" * 5000])
def test_nonsense_is_no_token(nonsense: str) -> None:
    """And is no error either."""
    assert not tokens.check(KEY, nonsense, 0)
