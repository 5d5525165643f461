"""What is read out of handlers' exceptions."""

from __future__ import annotations

import pytest

from modelplex.runtime import answers

NO_ROOM = "x.so: failed to map segment from shared object"


@pytest.mark.parametrize(
    ("error", "lacking"),
    [
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("std::bad_alloc"), True),
        (ImportError(NO_ROOM), True),
        (ImportError("No module named 'x'"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_lack_of_memory_has_many_names(error: Exception, lacking: bool) -> None:
    """Frameworks and the loader of extension modules have names of their own for it."""
    assert answers.lacks_memory(error) is lacking
