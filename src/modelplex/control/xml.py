"""The XML answers of AWS's query protocol, which STS and IAM speak."""

from __future__ import annotations

from typing import TypeAlias
from xml.sax.saxutils import escape

Fields: TypeAlias = "dict[str, str | Fields]"


def answer(operation: str, namespace: str, fields: Fields, request_id: str) -> bytes:
    """A whole answer of one operation."""
    result = _elements(fields)
    return (
        f'<{operation}Response xmlns="{namespace}">'
        f"<{operation}Result>{result}</{operation}Result>"
        f"<ResponseMetadata><RequestId>{escape(request_id)}</RequestId></ResponseMetadata>"
        f"</{operation}Response>"
    ).encode()


def _elements(fields: Fields) -> str:
    return "".join(f"<{name}>{_text(value)}</{name}>" for name, value in fields.items())


def _text(value: str | Fields) -> str:
    return escape(value) if isinstance(value, str) else _elements(value)
