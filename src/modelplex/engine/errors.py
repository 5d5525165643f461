"""What can go wrong with a container engine.

EngineError      the engine refused; the text is a sentence fit for a FailureReason
  NoEngine       it cannot be spoken to at all
  PullFailed     an image could not be brought from its registry
"""

from __future__ import annotations


class EngineError(Exception):
    """The engine did not do what it was asked for. The text says what, why, and what helps."""


class NoEngine(EngineError):
    """There is no engine, it may not be used, or it does not answer."""


class PullFailed(EngineError):
    """The registry does not have the image, does not give it, or took too long."""
