"""Content types that the codecs know, and how headers with them are read.

Names as in the SageMaker Inference Toolkit's `content_types.py`; JSON lines are not among its own.
"""

from __future__ import annotations

JSON = "application/json"
JSON_LINES = "application/jsonlines"
CSV = "text/csv"
OCTET_STREAM = "application/octet-stream"
ANY = "*/*"
NPY = "application/x-npy"
NPZ = "application/x-npz"
UTF8_TYPES = [JSON, CSV]


def media_type(value: str | None) -> str:
    """A content type without its parameters, in lower case; "" for none."""
    return (value or "").partition(";")[0].strip().lower()


def accepted(accept: str | None) -> list[str]:
    """The media types of an Accept header, best first. Those with q=0 are left out."""
    weighted = []
    for item in (accept or "").split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        weight = _weight(parameters)
        if name and weight > 0:
            weighted.append((weight, name))
    weighted.sort(key=lambda pair: -pair[0])  # stable: as written among equals
    return [name for _, name in weighted]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 1.0
    return 1.0
