"""What is raised at artifacts that cannot be converted."""

from __future__ import annotations


class ConversionError(ValueError):
    """The artifact is broken, or holds what has no counterpart here; the message says what."""
