"""What a request gives the handler: parameters, forms, bodies, headers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelplex.runtime import inputs
from modelplex.runtime.frames import INVOKE, Frame
from modelplex.runtime.inputs import InputError

FORM = b"multipart/form-data; boundary=XYZ"


def frame(body: bytes = b"", content_type: bytes = b"", query: bytes = b"", *more: bytes) -> Frame:
    """A request as the host sends it."""
    headers = [b"content-type", content_type] if content_type else []
    meta = b"\0".join([query, b"id-1", b"host", b"x", *headers, *more])
    return Frame(INVOKE, 0, 7, bytearray(meta), bytearray(body))


def entry(*request: bytes, decode: bool = False) -> dict[str, Any]:
    return inputs.read(frame(*request), decode)[0]


def part(head: bytes, value: bytes) -> bytes:
    return b"--XYZ\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + value + b"\r\n"


def test_a_body_is_a_bytearray():
    """Whatever its type, unless decoding is asked for."""
    for kind in (b"", b"application/json", b"text/csv", b"image/platform-form"):
        given_body = entry(b"[1]", kind)["body"]
        assert (type(given_body), given_body) == (bytearray, b"[1]")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (b"application/json", {"a": 1}),
        (b"Application/JSON; charset=utf-8", {"a": 1}),
        (b"text/plain", '{"a": 1}'),
        (b"application/x-json", bytearray(b'{"a": 1}')),
        (b"", bytearray(b'{"a": 1}')),
    ],
)
def test_decoding(kind, value):
    """JSON becomes an object and text a str."""
    assert entry(b'{"a": 1}', kind, decode=True) == {"body": value}


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"{", b"application/json"), (b"\xff", b"text/plain"), (b"[" * 100_000, b"application/json")],
)
def test_what_cannot_be_decoded_is_refused(body, kind):
    """Malformed JSON, bytes that are no UTF-8, and JSON that is too deep."""
    with pytest.raises(InputError, match="cannot be read"):
        entry(body, kind, decode=True)


def test_the_query_comes_beside_the_body():
    """Its values are bytearrays; the last of one name counts, and `body` is the body."""
    data = entry(b"x", b"image/png", b"a=1&a=2%20%C3%A4+&b&=&body=no")
    assert data == {"a": "2 ä ".encode(), "b": b"", "": b"", "body": b"x"}
    assert {type(value) for value in data.values()} == {bytearray}


def test_an_urlencoded_form():
    """Its fields are parameters, and there is no body."""
    kind = b"application/x-www-form-urlencoded; charset=utf-8"
    assert entry(b"a=1&b=%00%ff", kind, b"q=2") == {"q": b"2", "a": b"1", "b": b"\0\xff"}
    assert entry(b"", kind) == {}


def test_a_multipart_form():
    """Fields and files, binary as they are; files have a content type that decoding heeds."""
    body = b"preamble\r\n" + part(b'name="text"', b"t")
    body += part(b'name=file; filename="a;\\"b\\".bin"', b"\r\n--XY\0\xff\r\n")
    body += part(b'filename="j"; name="json"\r\nContent-Type: application/json; x=y', b"[1]")
    body += part(b'name="field"\r\nContent-Type: application/json', b"[1]")
    body += part(b'name="empty"', b"") + b"--XYZ--\r\nepilogue"
    data, request = inputs.read(frame(body, b'Multipart/Form-Data; boundary="XYZ"', b"q=1"), True)
    assert data == {
        "q": b"1",
        "text": b"t",
        "file": b"\r\n--XY\0\xff\r\n",
        "json": [1],
        "field": b"[1]",
        "empty": b"",
    }
    assert request.get_request_property("file") == {"content-type": "application/octet-stream"}
    assert request.get_request_property("JSON") == {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"a=%4", b"application/x-www-form-urlencoded", "two hexadecimal digits"),
        (b"%ff=1", b"application/x-www-form-urlencoded", "is not UTF-8"),
        (b"a&" * 1100, b"application/x-www-form-urlencoded", "more than 1024 parameters"),
        (b"", FORM, "boundary is not in its body"),
        (b"x", b"multipart/form-data", "no boundary"),
        (b"x", b"multipart/form-data; boundary=" + b"b" * 201, "no boundary"),
        (b"--XYZ\r\n\r\nvalue\r\n--XYZ--", FORM, "has no name"),
        (part(b'name=""', b"v") + b"--XYZ--", FORM, "has no name"),
        (part(b'name="a"', b"v"), FORM, "no end"),
        (part(b'name="a"', b"v") + b"--XYZ", FORM, "line's end"),
        (part(b'name="a"', b"v") + b"--XYZoops\r\n", FORM, "line's end"),
        (b'--XYZ\r\nContent-Disposition: form-data; name="a"\r\n--XYZ\r\n\r\n', FORM, "no end"),
        (part(b'name="a"' + b"x" * 9000, b"v") + b"--XYZ--", FORM, "too long a header"),
        (part(b'name="\xff"', b"v") + b"--XYZ--", FORM, "is not UTF-8"),
        (part(b'name="a"', b"v") * 1100 + b"--XYZ--", FORM, "more than 1024 parts"),
    ],
)
def test_what_cannot_be_parsed_is_refused(body, kind, reason):
    """With a sentence that says why."""
    with pytest.raises(InputError, match=reason):
        entry(body, kind)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                b"--XYZ",
                b"\r\n",
                b"--",
                b'Content-Disposition: x; name="a"',
                b"; filename=",
                b":",
                b"\0",
                b'"',
                b"value",
            ]
        ),
        max_size=25,
    )
)
def test_no_form_fails_otherwise(pieces):
    """Any body is parsed or refused."""
    try:
        data = entry(b"".join(pieces), FORM)
    except InputError:
        return
    assert all(isinstance(value, bytearray) for value in data.values())


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.binary(max_size=50), max_size=5))
def test_forms_come_back_as_they_were(fields):
    """Any binary value under any name that is no control character or quote."""
    fields = {n: v for n, v in fields.items() if n.isprintable() and not set(n) & {'"', "\\"}}
    body = b"".join(part(b'name="' + n.encode() + b'"', v) for n, v in fields.items())
    if any(b"--XYZ" in value for value in fields.values()):
        return
    assert entry(body + b"--XYZ--", FORM) == fields


def test_headers_and_id():
    """Found in any case; a value that looks like a header's name is none."""
    request = inputs.read(frame(b"", b"", b"", b"x", b"content-type", b"y", b"content-type"), False)
    assert request[1].id() == "id-1"
    assert request[1].get_request_properties() == {
        "host": "x",
        "x": "content-type",
        "y": "content-type",
        "body": {"content-type": ""},
    }
    nameless = Frame(INVOKE, 0, 7, bytearray(b"\0"), bytearray())
    assert inputs.read(nameless, False)[1].id() == "7"
