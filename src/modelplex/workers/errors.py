"""What can go wrong with a zygote or a worker.

WorkersError
  StartFailed      the image cannot be used at all
  LoadFailed       this model cannot be loaded, and trying again will not help
    OutOfMemory    it can, with more memory
  WorkerDied       the process ended while it was needed
    TimedOut       because it was killed: it took too long
    TookTooMuch    because it took more memory than there was for it
    NotBegun       before it began what it was sent ahead: another worker may have that
"""

from __future__ import annotations


class WorkersError(Exception):
    """Base of this folder's errors; the text is fit for users."""


class StartFailed(WorkersError):
    """The image's Python, or its handler, cannot be started. The text has the reason."""


class LoadFailed(WorkersError):
    """The handler refused the model. `status` is what a container would have answered."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class OutOfMemory(LoadFailed):
    """The model needs more memory than it was allowed."""

    def __init__(self, message: str = "Out of resources") -> None:
        super().__init__(message, 507)


class WorkerDied(WorkersError):
    """The worker ended before it answered. The text says how."""


class TimedOut(WorkerDied):
    """The handler took longer than the request may take, so its process was killed."""


class TookTooMuch(WorkerDied):
    """The worker ended for lack of memory: by its own word, or killed by the kernel."""


class NotBegun(WorkerDied):
    """The worker ended before it came to this batch, which nobody has seen."""
