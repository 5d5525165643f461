"""Calls a handler and turns whatever comes of it into one answer for each request."""

from __future__ import annotations

import errno
import json
import re
import traceback
from typing import Any, Iterator, Tuple, Union

from modelplex.runtime.context import Context, RequestProcessor

_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_UNSAFE = re.compile("\r\n|[\r\n\0]")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What frameworks say when an allocation of theirs failed, but raise as something else.
_MEMORY_WORDS = (
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "out of memory",
    "can't start new thread",  # for lack of room for its stack
    # Of an extension module that is imported:
    "failed to map segment from shared object",
    "cannot map zero-fill pages",
)


# Meta and body, as the host will get them. The meta is `status NUL phrase NUL failure (NUL name NUL
# value)*`, or nothing for a 200 without headers; `failure` is empty, "raised", "memory",
# "prediction", "invalid" or "input". A plain tuple, as it is made for each request.
Answer = Tuple[bytes, Union[bytes, bytearray]]


def failure(status: int, message: str, kind: str) -> Answer:
    """An answer that says in its body what went wrong."""
    meta = b"\0".join((b"%d" % status, b"", kind.encode("ascii"), *_TEXT))
    return meta, message.encode("utf-8", "backslashreplace")


def ask(entry: Any, context: Context, data: list[Any]) -> list[Answer]:
    """Calls the handler once. Only SystemExit gets past this: it ends the process."""
    try:
        return _read(entry(data, context), context, len(data))
    except SystemExit:
        raise
    except BaseException as error:  # whatever it is, it is an answer
        return [explain(error)] * len(data)


def explain(error: BaseException) -> Answer:
    """The answer to an exception of the handler; its traceback goes to the model's log.

    MemoryError: 507, PredictionException: its own code, as Multi Model Server answers. Anything
    else: 500 with type and text, where MMS answers 503 "Prediction failed".
    """
    if lacks_memory(error):
        # Frees what the handler's frames still hold, or there is no memory to answer with.
        traceback.clear_frames(error.__traceback__)
        return failure(507, "Out of resources", "memory")
    note(error)
    code = prediction_code(error)
    if code is not None:
        return failure(code, str(getattr(error, "message", error)), "prediction")
    return failure(500, describe(error), "raised")


def note(error: BaseException) -> None:
    """Writes the traceback to the model's log."""
    try:
        traceback.print_exception(type(error), error, error.__traceback__)
    except Exception:  # the handler closed or replaced sys.stderr: there is no log to write to
        return


def describe(error: BaseException) -> str:
    """Type and text of an exception in one line."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # its __str__ is broken too
        return type(error).__name__


def lacks_memory(error: BaseException) -> bool:
    """Whether an allocation failed, in Python, in the kernel or in a framework."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = describe(error).lower() if isinstance(error, (RuntimeError, ImportError)) else ""
    return any(words in text for words in _MEMORY_WORDS)


def prediction_code(error: BaseException) -> int | None:
    """The status that a PredictionException (of any `mms`) asks for; None for other exceptions."""
    if type(error).__name__ != "PredictionException":
        return None
    code = getattr(error, "error_code", None)
    return code if isinstance(code, int) and 200 <= code <= 599 else 500


def _read(returned: Any, context: Context, count: int) -> list[Answer]:
    if not isinstance(returned, list):
        text = f"{type(returned)} instead of a list"
        return [_invalid("Invalid model predict output", text)] * count
    if len(returned) != count:
        text = f"expect: {count}, got: {len(returned)}"
        return [_invalid("number of batch response mismatched", text)] * count
    processors: Any = context.request_processor  # perhaps others than at the call
    if count == 1:
        return [_answer(returned[0], processors[0])]
    return [_answer(value, processors[at]) for at, value in enumerate(returned)]


def _answer(value: Any, processor: RequestProcessor) -> Answer:
    try:
        body = value if isinstance(value, (bytes, bytearray)) else _body(value)
    except (TypeError, ValueError) as error:
        return _invalid("Unsupported model output data type.", describe(error))
    if getattr(processor, "untouched", False):
        return b"", body
    status = processor.get_response_status_code()
    phrase = processor.get_response_status_phrase()
    headers = processor.get_response_headers()
    if status == 200 and not phrase and not headers:
        return b"", body
    if not isinstance(status, int) or not 200 <= status <= 599:
        text = f"the handler set the response status {status!r}; use 200 to 599"
        return failure(500, text, "invalid")
    return b"\0".join([b"%d" % status, _line(phrase or ""), b"", *_pairs(headers)]), body


def _pairs(headers: dict[str, Any]) -> Iterator[bytes]:
    """Names and values in turn; without names that would break the answer."""
    for name, value in headers.items():
        if _NAME.fullmatch(str(name)):
            yield str(name).lower().encode("ascii")
            yield _line(value)
        else:
            print(f"the response header {name!r} is left out: no header can have that name")


def _body(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8")
    return json.dumps(value, indent=2).encode("utf-8")


def _invalid(message: str, detail: str) -> Answer:
    print(f"{message}: {detail}")
    return failure(503, message, "invalid")


def _line(value: Any) -> bytes:
    """A text that cannot break out of its header line."""
    return _UNSAFE.sub(" ", str(value)).encode("utf-8", "backslashreplace")
