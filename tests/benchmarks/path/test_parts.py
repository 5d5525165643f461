"""Samples of perf and py-spy, and whose time they are."""

from __future__ import annotations

import pytest

from benchmarks.path import parts

PERF = """
        ffffffff81 do_syscall_64 ([kernel.kallsyms])
        ffffffff82 __x64_sys_sendto ([kernel.kallsyms])
             1234 __send (/usr/lib/libc.so.6)

        ffffffff81 irqentry_exit ([kernel.kallsyms])


             1234 _PyEval_EvalFrameDefault (/usr/lib/libpython3.11.so.1.0)
         deadbeef [unknown] ([unknown])

             1234 Loop__run (/venv/site-packages/uvloop/loop.cpython-311.so)
"""


def test_the_processor_is_divided_by_library_and_by_system_call() -> None:
    found = parts.of_processor(PERF)
    assert found == {"kernel: write": 1, "kernel: other": 1, parts.PYTHON: 1, "uvloop": 1}


@pytest.mark.parametrize(
    ("stack", "part"),
    [
        (
            "main (/a/src/modelplex/gateway/app.py:9);send (/a/src/modelplex/http/writing.py:17)",
            "HTTP",
        ),
        (
            "verify (/a/src/modelplex/aws/signatures.py:3);dumps (/lib/python3.11/json/e.py:1)",
            "signature",
        ),
        ("run (/a/src/modelplex/runtime/worker.py:1);handle (/b/model_handler.py:2)", "handler"),
        (
            "run (/lib/python3.11/asyncio/runners.py:86);dict_get (/lib/libpython3.11.so)",
            parts.OTHER,
        ),
    ],
)
def test_python_is_divided_by_the_innermost_function_of_ours(stack: str, part: str) -> None:
    assert parts.of_python(f"{stack} 7\n") == {part: 7}


def test_what_perf_has_seen_is_not_counted_as_python() -> None:
    stack = "send (/a/src/modelplex/http/writing.py:17);uv__write (/libuv-x86_64/stream.c:9)"
    assert not parts.of_python(f"{stack} 7\n")


def test_the_interpreters_share_is_divided_as_its_own_samples_are() -> None:
    found = parts.shares({"uvloop": 1, parts.PYTHON: 3}, {"HTTP": 20, "signature": 10})
    assert found == pytest.approx({"uvloop": 0.25, "HTTP": 0.5, "signature": 0.25})
    assert parts.shares({}, {"HTTP": 20}) == {}


def test_too_few_samples_divide_nothing() -> None:
    assert parts.shares({parts.PYTHON: 3}, {"HTTP": 2}) == {parts.UNKNOWN: 1.0}
