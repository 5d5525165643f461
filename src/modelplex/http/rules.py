"""The rules of RFC 9110 and 9112 that llhttp leaves to its user and that few requests meet."""

from __future__ import annotations

import re


class Refused(Exception):
    """Not a request this server answers; the connection ends after saying so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


_HOST = re.compile(  # uri-host [ ":" port ] of RFC 3986; empty is allowed
    rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[0-9A-Fa-f:.]+\]|\[v[0-9A-Fa-f]+\.[A-Za-z0-9\-._~:]+\])"
    rb"(?::[0-9]*)?"
)
_ABSOLUTE = re.compile(rb"https?://([^/?]+)(/[^?]*)?(\?.*)?", re.IGNORECASE)


def check_host(host: bytes | None, *, http10: bool) -> bytes | None:
    """Gives the Host header back; Refused unless there is one, of a host and perhaps a port.

    RFC 9112, 3.2. HTTP/1.0 can do without.
    """
    if host is None and not http10:
        raise Refused(400, "a request needs a Host header, this one has none")
    if host is not None and _HOST.fullmatch(host) is None:
        text = host.decode("latin-1")
        raise Refused(400, f"the Host header {text!r} is not one host with an optional port")
    return host


def check_coding(coding: bytes, *, http10: bool) -> None:
    """Refused unless Transfer-Encoding, all its lines together, says "chunked" and nothing else.

    RFC 9112 (6.1) calls it faulty framing in HTTP/1.0.
    """
    if http10:
        raise Refused(400, "HTTP/1.0 has no Transfer-Encoding")
    if coding.lower() != b"chunked":
        text = coding.decode("latin-1")
        raise Refused(501, f"Transfer-Encoding {text!r} is not understood, only 'chunked' is")


def check_expectation(expect: bytes) -> None:
    """Refused unless the only expectation is 100-continue (RFC 9110, 10.1.1)."""
    if expect.lower() != b"100-continue":
        text = expect.decode("latin-1")
        raise Refused(417, f"Expect {text!r} is not understood, only '100-continue' is")


def origin_form(method: bytes, target: bytes, host: bytes) -> bytes:
    """A target as path and query, or "*" of OPTIONS; Refused if it is neither in any form.

    A whole URL has to be accepted (RFC 9112, 3.2.2). Here its authority has to be the Host header's
    too: whoever looked at only one of them before us would have sent the request elsewhere.
    """
    if method == b"CONNECT":
        raise Refused(501, "CONNECT is not understood: this is no proxy")
    if target[:1] == b"/" or (target == b"*" and method == b"OPTIONS"):
        return target
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise Refused(400, "the request target must be a path or an http URL")
    authority, path, query = match.groups(b"")
    if authority.lower() != host.lower():
        raise Refused(400, "the request target and the Host header name different hosts")
    return (path or b"/") + query
