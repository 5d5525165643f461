"""Errors that set the status of an answer, for user code to raise and extend.

BaseInferenceToolkitError              the status it is given
  GenericInferenceToolkitError         the same; text and phrase may be left out
  UnsupportedFormatError       415     a content type that cannot be read
    UnsupportedAcceptError     406     one that cannot be written
  MalformedInputError          400     a body that is not what its content type says

Names and signatures as in the SageMaker Inference Toolkit's `errors.py`, where a format that is
not supported ends as 500.
"""

from __future__ import annotations

import errno

# What frameworks say when an allocation of theirs failed, but raise as something else.
_MEMORY_WORDS = ("out of memory", "cannot allocate memory", "can't allocate memory", "bad_alloc")


class BaseInferenceToolkitError(Exception):
    """`status_code` and `message` (the body) go to the client; `phrase` into the status line."""

    def __init__(self, status_code: int, message: str, phrase: str) -> None:
        self.status_code = status_code
        self.message = message
        self.phrase = phrase
        super().__init__(status_code, message, phrase)

    def __str__(self) -> str:
        return f"{self.status_code} {self.message}"


class GenericInferenceToolkitError(BaseInferenceToolkitError):
    """Any failure with a status."""

    def __init__(
        self, status_code: int, message: str | None = None, phrase: str | None = None
    ) -> None:
        message = message or "Invalid Request"
        super().__init__(status_code, message, phrase or message)


class UnsupportedFormatError(BaseInferenceToolkitError):
    """A content type that nothing here can read."""

    def __init__(self, content_type: str | None) -> None:
        what = f"The content type {content_type!r}" if content_type else "A body of no content type"
        text = f"{what} cannot be read: send JSON, CSV, NPY or NPZ, or give the model an input_fn."
        super().__init__(415, text, "Unsupported Media Type")


class UnsupportedAcceptError(UnsupportedFormatError):
    """A content type that nothing here can write."""

    def __init__(self, accept: str | None) -> None:
        text = (
            f"An answer of the content type {accept!r} cannot be written: accept JSON, CSV or NPY, "
            "or give the model an output_fn."
        )
        BaseInferenceToolkitError.__init__(self, 406, text, "Not Acceptable")


class MalformedInputError(BaseInferenceToolkitError):
    """A body that is not what its content type says."""

    def __init__(self, message: str) -> None:
        super().__init__(400, message, "Bad Request")


class UnusableModel(Exception):
    """Files of a model that its handler cannot load; the text says which, why and what to do."""


def lacks_memory(error: BaseException) -> bool:
    """Whether an allocation failed, in Python, in the kernel or in a framework."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError):
        text = str(error).lower()
        return any(words in text for words in _MEMORY_WORDS)
    return isinstance(error, MemoryError)
