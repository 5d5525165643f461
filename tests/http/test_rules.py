"""The rules that few requests meet; `cases.py` has them as whole requests."""

from __future__ import annotations

import pytest

from modelplex.http.rules import Refused, check_coding, check_expectation, check_host, origin_form


@pytest.mark.parametrize("host", [b"", b"a_b.c:80", b"[::1]:8", b"[v1.x]", b"a:", b"%41", b"a,b"])
def test_a_host_with_or_without_a_port_is_good(host: bytes) -> None:
    """Also an empty one, and what container engines call themselves."""
    assert check_host(host, http10=False) == host


@pytest.mark.parametrize("host", [b"a b", b"a/b", b"u@a", b"a:b", b"\xe4", b"[::1", b"a\rb"])
def test_other_hosts_are_refused(host: bytes) -> None:
    """Whatever a URL could not have there."""
    with pytest.raises(Refused, match="is not one host"):
        check_host(host, http10=True)


@pytest.mark.parametrize(
    ("method", "target", "origin"),
    [
        (b"GET", b"/a?b", b"/a?b"),
        (b"OPTIONS", b"*", b"*"),
        (b"GET", b"HTTP://X:80/a?b/c", b"/a?b/c"),
        (b"GET", b"https://x:80?b", b"/?b"),
        (b"GET", b"http://x:80", b"/"),
    ],
)
def test_targets_become_paths(method: bytes, target: bytes, origin: bytes) -> None:
    """A whole URL has to be for the host that the Host header names."""
    assert origin_form(method, target, b"x:80") == origin


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        (b"CONNECT", b"x:80", 501),
        (b"GET", b"*", 400),
        (b"GET", b"http://y/", 400),
        (b"GET", b"http:///", 400),
        (b"GET", b"ftp://x/", 400),
    ],
)
def test_other_targets_are_refused(method: bytes, target: bytes, status: int) -> None:
    """With a status of their own."""
    with pytest.raises(Refused) as caught:
        origin_form(method, target, b"x")
    assert caught.value.status == status


def test_two_lines_are_never_one() -> None:
    """The reader joins the lines of a header by a carriage return."""
    for check, value in [(check_host, b"x\rx"), (check_coding, b"chunked\rchunked")]:
        with pytest.raises(Refused):
            check(value, http10=False)
    with pytest.raises(Refused):
        check_expectation(b"100-continue\r100-continue")
