"""Cross-origin headers, as configured."""

from __future__ import annotations

import pytest

from modelplex.server.api import cors
from modelplex.server.config import Config, ConfigError
from modelplex.workers.invocations import Answer
from tests.server.twins import TwinModel, world

SETTINGS = {
    "cors_allowed_origin": "https://example.com",
    "cors_allowed_methods": "GET, POST",
    "cors_allowed_headers": "X-Custom",
}
HEADERS = {
    b"access-control-allow-origin": b"https://example.com",
    b"access-control-allow-methods": b"GET, POST",
    b"access-control-allow-headers": b"X-Custom",
}
PREFLIGHT = [(b"origin", b"https://example.com"), (b"access-control-request-method", b"POST")]


async def test_every_answer_has_what_is_configured() -> None:
    """Express, ordinary, own answers and errors."""
    async with world(**SETTINGS) as served:
        served.models.add(TwinModel("m"))
        for method, path in (
            ("POST", "/predictions/m"),
            ("POST", "/predictions/m?x=1"),
            ("GET", "/ping"),
            ("GET", "/nosuch"),
            ("POST", "/predictions/nosuch"),
        ):
            response = await served.ask(method, path)
            assert dict(response.headers).items() >= HEADERS.items(), path


async def test_a_handler_may_say_otherwise() -> None:
    """Its own header wins, and comes once."""
    own = [(b"access-control-allow-origin", b"*")]
    async with world(**SETTINGS) as served:
        served.models.add(TwinModel("m", answer=lambda _: Answer(200, "", own, b"")))
        for path in ("/predictions/m", "/predictions/m?x=1"):
            response = await served.ask("POST", path)
            found = [v for n, v in response.headers if n == b"access-control-allow-origin"]
            assert found == [b"*"]


async def test_preflight() -> None:
    """A browser that asks beforehand gets 200, also for models that come later."""
    async with world(**SETTINGS) as served:
        for path in ("/predictions/later", "/models", "/invocations"):
            response = await served.ask("OPTIONS", path, b"", PREFLIGHT)
            assert response.status == 200
            assert dict(response.headers).items() >= HEADERS.items()


async def test_nothing_unless_configured() -> None:
    """No header by default, and a preflight is a request like others."""
    async with world() as served:
        response = await served.ask("OPTIONS", "/models", b"", PREFLIGHT)
        assert response.status == 405
        assert not [name for name, _ in response.headers if name.startswith(b"access-control")]


def test_values_that_no_header_can_have() -> None:
    """Are refused at start, by name."""
    with pytest.raises(ConfigError, match="cors_allowed_origin"):
        cors.headers(Config(cors_allowed_origin="*\r\nx: y"))
