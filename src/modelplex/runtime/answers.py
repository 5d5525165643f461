"""Calls a handler and turns whatever comes of it into one answer."""

from __future__ import annotations

import errno
import json
import traceback
from typing import Any, NamedTuple

from modelplex.runtime.context import Context, RequestProcessor

_TEXT = [("content-type", "text/plain; charset=utf-8")]
# What frameworks say when an allocation of theirs failed, but raise as something else.
_MEMORY_WORDS = (
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "out of memory",
    "can't start new thread",  # for lack of room for its stack
)


class Answer(NamedTuple):
    """Status, phrase, headers and body, as the host will get them."""

    status: int
    phrase: str
    headers: list[tuple[str, str]]
    body: bytes | bytearray


def failure(status: int, message: str) -> Answer:
    """An answer that says in its body what went wrong."""
    return Answer(status, "", _TEXT, message.encode("utf-8", "backslashreplace"))


def ask(entry: Any, context: Context, processor: RequestProcessor, data: list[Any]) -> Answer:
    """Calls the handler once. Only SystemExit gets past this: it ends the process."""
    try:
        return _read(entry(data, context), processor)
    except SystemExit:
        raise
    except BaseException as error:  # whatever it is, it is an answer
        return explain(error)


def explain(error: BaseException) -> Answer:
    """The answer to an exception of the handler; its traceback goes to the model's log.

    MemoryError: 507, PredictionException: its own code, as Multi Model Server answers. Anything
    else: 500 with type and text, where MMS answers 503 "Prediction failed".
    """
    if lacks_memory(error):
        # Frees what the handler's frames still hold, or there is no memory to answer with.
        traceback.clear_frames(error.__traceback__)
        return failure(507, "Out of resources")
    note(error)
    code = prediction_code(error)
    if code is not None:
        return failure(code, str(getattr(error, "message", error)))
    return failure(500, describe(error))


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
    text = describe(error).lower() if isinstance(error, RuntimeError) else ""
    return any(words in text for words in _MEMORY_WORDS)


def prediction_code(error: BaseException) -> int | None:
    """The status that a PredictionException (of any `mms`) asks for; None for other exceptions."""
    if type(error).__name__ != "PredictionException":
        return None
    code = getattr(error, "error_code", None)
    return code if isinstance(code, int) and 200 <= code <= 599 else 500


def _read(returned: Any, processor: RequestProcessor) -> Answer:
    if not isinstance(returned, list):
        return _invalid("Invalid model predict output", f"{type(returned)} instead of a list")
    if len(returned) != 1:
        return _invalid("number of batch response mismatched", f"expect: 1, got: {len(returned)}")
    try:
        body = _body(returned[0])
    except (TypeError, ValueError) as error:
        return _invalid("Unsupported model output data type.", describe(error))
    status = processor.get_response_status_code()
    if not isinstance(status, int) or not 200 <= status <= 599:
        return failure(500, f"the handler set the response status {status!r}; use 200 to 599")
    phrase = _line(processor.get_response_status_phrase() or "")
    headers = processor.get_response_headers().items()
    return Answer(status, phrase, [(_line(k), _line(v)) for k, v in headers], body)


def _body(value: Any) -> bytes | bytearray:
    if isinstance(value, (bytes, bytearray)):
        return value
    if isinstance(value, str):
        return value.encode("utf-8")
    return json.dumps(value, indent=2).encode("utf-8")


def _invalid(message: str, detail: str) -> Answer:
    print(f"{message}: {detail}")
    return failure(503, message)


def _line(value: Any) -> str:
    """A text that cannot break out of its header line."""
    return " ".join(str(value).split("\r\n")).replace("\r", " ").replace("\n", " ")
