"""What the model server refuses, with the status and the type that Multi Model Server gives it.

ServerError
  BadRequest            400   InvalidModel        400   DownloadFailed  400
  ModelNotFound         404   ResourceNotFound    404   NotAllowed      405
  TimedOut              408   Conflict            409   TooLarge        413
  Internal              500   Unavailable         503   OutOfResources  507

Source of types and texts: the contract as seen on the wire of Multi Model Server 1.1.11.
"""

from __future__ import annotations

from typing import ClassVar


class ServerError(Exception):
    """Base of all refusals; the text is the answer's `message`."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "InternalServerException"

    @property
    def message(self) -> str:
        """What was wrong, with which value, and what to do."""
        return str(self)


class BadRequest(ServerError):
    """A parameter or body that cannot be used."""

    status = 400
    type = "BadRequestException"


class InvalidModel(ServerError):
    """An artifact that is no model: damaged, hostile, or without what it needs."""

    status = 400
    type = "InvalidModelException"


class DownloadFailed(ServerError):
    """An artifact that could not be brought here, or may not be."""

    status = 400
    type = "DownloadModelException"


class ModelNotFound(ServerError):
    """No model of that name, or no artifact at that place."""

    status = 404
    type = "ModelNotFoundException"


class ResourceNotFound(ServerError):
    """Requested resource is not found, please refer to API document."""

    status = 404
    type = "ResourceNotFoundException"


class NotAllowed(ServerError):
    """Requested method is not allowed, please refer to API document."""

    status = 405
    type = "MethodNotAllowedException"


class TimedOut(ServerError):
    """Something was waited for, and the wait has a limit."""

    status = 408
    type = "RequestTimeoutException"


class Conflict(ServerError):
    """A model of that name is here already."""

    status = 409
    type = "ConflictStatusException"


class TooLarge(ServerError):
    """A request above `max_request_size`."""

    status = 413
    type = "RequestEntityTooLargeException"


class Internal(ServerError):
    """A worker that cannot be started, or died."""


class Unavailable(ServerError):
    """No worker, or a full queue."""

    status = 503
    type = "ServiceUnavailableException"


class OutOfResources(ServerError):
    """Not enough memory: the platform is to unload something and try again."""

    status = 507
