"""What a request gives the handler: one entry of `data`, and its headers.

A request's meta is `query NUL id (NUL name NUL value)*`; its headers are taken apart only when the
handler asks. Parameters of the query come first, then the fields of an urlencoded or multipart
form, or `body`; of parameters with one name the last counts. All values are bytearrays, except that
with `decode` JSON becomes objects and `text/*` str. Source of the names and rules:
multi-model-server 1.1.11, InferenceRequestHandler.java, mms/service.py, otf_message_handler.py.
Different on purpose: what cannot be parsed is refused, and binary form fields stay as they are.
"""

from __future__ import annotations

import json
import re
from typing import Any, Iterator
from urllib.parse import unquote_to_bytes

from modelplex.runtime import frames
from modelplex.runtime.context import Headers, RequestProcessor

FIELDS_MAX = 1024  # parameters or parts of one request; more: InputError
PART_HEADER_BYTES_MAX = 8 * 1024  # of one part of a multipart form; more: InputError

_CONTENT_TYPE = b"\0content-type\0"
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ATTRIBUTE = re.compile(rb';[ \t]*([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;"\s]*))')


class InputError(ValueError):
    """A query or body that is not what it claims to be. The text says why."""


class Request(RequestProcessor):
    """One request as the worker knows it; its body is not kept here."""

    untouched = True

    def __init__(self, meta: bytearray, number: int, types: dict[str, str] | None = None) -> None:
        """`types`: the content type of each parameter; None: there is only a body."""
        self._meta = meta
        self._number = number
        self._types = types

    def id(self) -> str:
        """The id that the host gave it, else its number."""
        return self._meta.split(b"\0", 2)[1].decode("latin-1") or str(self._number)

    def get_request_properties(self) -> dict[str, Any]:
        """Its headers, and for each parameter a `{"content-type": …}`, as Multi Model Server."""
        if self._request_header is None:
            types = {"body": media_type(self._meta)} if self._types is None else self._types
            texts = self._meta.decode("latin-1").split("\0")
            described = [(name, {"content-type": kind}) for name, kind in types.items()]
            sent = zip(texts[2::2], texts[3::2])  # noqa: B905  strict= came with Python 3.10
            self._request_header = Headers([*described, *sent])
        return self._request_header


def read(frame: frames.Frame, decode: bool) -> tuple[dict[str, Any], Request]:
    """The entry of `data` and the description of a request. Raises InputError."""
    meta, number = frame.meta, frame.request
    if meta[0] == 0 and b"form" not in meta.lower():  # most requests: a body and no parameters
        body = decoded(frame.body, media_type(meta)) if decode else frame.body
        return {"body": body}, Request(meta, number)
    kind = media_type(meta)
    entry: dict[str, Any] = dict(fields(meta[: meta.index(0)]))
    types = dict.fromkeys(entry, "")
    if kind == "multipart/form-data":
        for name, kind, value in parts(frame.body, boundary(content_type(meta))):
            entry[name] = decoded(value, kind) if decode else value
            types[name] = kind
    elif kind == "application/x-www-form-urlencoded":
        entry.update(fields(frame.body))
        types = dict.fromkeys(entry, "")
    else:
        types["body"] = kind
        entry["body"] = decoded(frame.body, kind) if decode else frame.body
    return entry, Request(meta, number, types)


def media_type(meta: bytearray) -> str:
    """The request's content type without parameters, in lower case."""
    return content_type(meta).partition(b";")[0].strip().lower().decode("latin-1")


def content_type(meta: bytearray) -> bytes:
    """The request's content type; empty if it has none."""
    at = meta.find(_CONTENT_TYPE)
    while at >= 0 and meta.count(0, 0, at) % 2 == 0:  # a value of that text, not a name
        at = meta.find(_CONTENT_TYPE, at + 1)
    if at < 0:
        return b""
    start = at + len(_CONTENT_TYPE)
    end = meta.find(0, start)
    return bytes(meta[start:end] if end >= 0 else meta[start:])


def decoded(value: bytearray, kind: str) -> Any:
    """JSON as an object, text as str, all else as it is. Raises InputError."""
    try:
        if kind == "application/json":
            return json.loads(value.decode("utf-8"))
        return value.decode("utf-8") if kind.startswith("text") else value
    except (ValueError, RecursionError) as error:
        raise InputError(f"the request's {kind} cannot be read: {error}") from error


def fields(written: bytearray) -> Iterator[tuple[str, bytearray]]:
    """The parameters of an urlencoded text. Raises InputError."""
    if _BAD_ESCAPE.search(written):
        raise InputError("a % in an urlencoded text is not followed by two hexadecimal digits")
    if written.count(b"&") >= FIELDS_MAX:
        raise InputError(f"more than {FIELDS_MAX} parameters")
    for pair in written.replace(b"+", b" ").split(b"&"):
        name, _, value = pair.partition(b"=")
        if pair:
            yield _name(unquote_to_bytes(bytes(name))), bytearray(unquote_to_bytes(bytes(value)))


def boundary(written: bytes) -> bytes:
    """What separates the parts, out of the content type. Raises InputError."""
    found = _attributes(written).get(b"boundary", b"")
    if not 1 <= len(found) <= 200:
        raise InputError("the multipart content type has no boundary of 1 to 200 characters")
    return found


def parts(body: bytearray, separator: bytes) -> Iterator[tuple[str, str, bytearray]]:
    """Name, content type and value of each part of a form; only files have a content type, as in
    Multi Model Server. Raises InputError."""
    delimiter = b"\r\n--" + separator
    at = _first(body, delimiter)
    for _ in range(FIELDS_MAX + 1):
        if body.startswith(b"--", at):
            return
        end_of_line = body.find(b"\r\n", at, at + PART_HEADER_BYTES_MAX)
        if end_of_line < 0 or body[at:end_of_line].strip(b" \t"):
            raise InputError("a boundary of the multipart form is not followed by a line's end")
        # Searched from the boundary's own line end, since a part may have no headers at all.
        head_end = body.find(b"\r\n\r\n", end_of_line, end_of_line + PART_HEADER_BYTES_MAX)
        end = body.find(delimiter, min(end_of_line + 2, head_end + 2))
        if head_end < 0 or end < head_end:
            raise InputError("a part of the multipart form has no end, or too long a header")
        yield (*_described(bytes(body[end_of_line:head_end])), body[head_end + 4 : end])
        at = end + len(delimiter)
    raise InputError(f"more than {FIELDS_MAX} parts in the multipart form")


def _first(body: bytearray, delimiter: bytes) -> int:
    """Behind the first boundary, which may begin the body."""
    if body.startswith(delimiter[2:]):
        return len(delimiter) - 2
    at = body.find(delimiter)
    if at < 0:
        raise InputError("the multipart form's boundary is not in its body")
    return at + len(delimiter)


def _described(head: bytes) -> tuple[str, str]:
    """Name and content type of a part."""
    lines = (line.partition(b":") for line in head.split(b"\r\n"))
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    attributes = _attributes(headers.get(b"content-disposition", b""))
    if not attributes.get(b"name"):
        raise InputError("a part of the multipart form has no name")
    kind = b""
    if b"filename" in attributes or b"filename*" in attributes:
        kind = headers.get(b"content-type", b"application/octet-stream")
    return _name(attributes[b"name"]), kind.partition(b";")[0].strip().lower().decode("latin-1")


def _attributes(value: bytes) -> dict[bytes, bytes]:
    return {
        name.lower(): re.sub(rb"\\(.)", rb"\1", quoted) if quoted else plain
        for name, quoted, plain in _ATTRIBUTE.findall(value)
    }


def _name(written: bytes) -> str:
    try:
        return written.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"a parameter's name is not UTF-8: {written[:100]!r}") from error
