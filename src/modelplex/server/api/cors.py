"""Cross-origin requests: what `cors_allowed_origin`, `_methods` and `_headers` add to answers."""

from __future__ import annotations

from modelplex.http.messages import Header, Request, encode_headers
from modelplex.server.config import Config, ConfigError


def headers(config: Config) -> list[Header]:
    """The configured headers, for every answer whatever its origin, as Multi Model Server.

    Raises ConfigError for a value that cannot be in a header.
    """
    values = (
        (b"access-control-allow-origin", config.cors_allowed_origin),
        (b"access-control-allow-methods", config.cors_allowed_methods),
        (b"access-control-allow-headers", config.cors_allowed_headers),
    )
    found = [(name, value.encode("latin-1", "replace")) for name, value in values if value]
    try:
        encode_headers(found)
    except ValueError as error:
        raise ConfigError(f"cors_allowed_origin, _methods and _headers: {error}") from None
    return found


def is_preflight(request: Request) -> bool:
    """Whether a browser asks beforehand if it may send what it wants to send."""
    return request.method == "OPTIONS" and bool(request.header(b"access-control-request-method"))
