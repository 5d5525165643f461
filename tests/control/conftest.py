"""The world that control's tests live in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.control.world import World, world


@pytest.fixture
async def w() -> AsyncIterator[World]:
    """A running control with fake instances behind it and boto3 in front."""
    async with world() as found:
        yield found
