"""Which part of the work a sample belongs to: by library and system call, and by our module.

Pure: from the text of `perf script` and of `py-spy record --format raw` to shares of the whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

PYTHON = "Python"  # what perf sees of it; the interpreter's own stacks say whose it is
OTHER = "other Python"
UNKNOWN = "Python, too few samples"
SAMPLES_MIN = 30  # fewer divide nothing
_KERNEL = "[kernel"
_CALL = re.compile(r"\b(?:__x64_sys|__se_sys|__do_sys|ksys)_(\w+)")
_CALLS = {  # system call -> part
    "kernel: read": {"read", "recvfrom", "recvmsg", "readv", "pread64"},
    "kernel: write": {"write", "sendto", "sendmsg", "writev", "pwrite64"},
    "kernel: epoll": {"epoll_wait", "epoll_pwait", "epoll_ctl", "poll", "select", "ppoll"},
}
_LIBRARIES = {  # in the path of a library -> part
    "uvloop/": "uvloop",
    "httptools/": "httptools",
    "libcrypto": "hashing",
    "_hashlib": "hashing",
    "[vdso]": "clock",
}
_NATIVE = re.compile(r"uvloop/loop|/libuv|llhttp|httptools/|libc\.so|libcrypto|_hashlib|libpthread")
_FILE = re.compile(r"\((\S+\.py):\d+\)$")
_HANDLERS = ("model_handler.py", "service.py")
_MODULES = (  # below modelplex/, the first that fits -> part
    ("aws/", "signature"),
    ("gateway/routes", "routing"),
    ("gateway/fleet", "routing"),
    ("core/routing/", "routing"),
    ("core/log/", "fact log"),
    ("instance/logs/", "fact log"),
    ("core/", "residency"),
    ("lanes/", "frames"),
    ("workers/", "frames"),
    ("runtime/frames", "frames"),
    ("runtime/link", "frames"),
    ("runtime/shared", "frames"),
    ("runtime/", "worker's loop"),
    ("http/", "HTTP"),
    ("gateway/", "gateway's shell"),
    ("instance/", "instance's shell"),
    ("server/", "server's shell"),
)


def of_processor(script: str) -> Counter[str]:
    """Part -> samples, from `perf script -F ip,sym,dso`: stacks, innermost frame first."""
    stacks = re.split(r"\n\s*\n", script)  # blank lines keep them apart
    return Counter(_of_stack(stack.strip().splitlines()) for stack in stacks if stack.strip())


def _of_stack(frames: list[str]) -> str:
    inner = frames[0]
    if _KERNEL in inner:
        match = next(filter(None, map(_CALL.search, frames)), None)
        name = match[1] if match else ""
        return next((part for part, names in _CALLS.items() if name in names), "kernel: other")
    return next((part for mark, part in _LIBRARIES.items() if mark in inner), PYTHON)


def of_python(raw: str) -> Counter[str]:
    """Part -> samples, from py-spy's lines `outer;…;inner COUNT`.

    Left out is what perf has seen already: where the innermost frame is not the interpreter's.
    """
    found: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not _NATIVE.search(frames[-1]):
            found[_of_frames(frames)] += int(count)
    return found


def _of_frames(frames: list[str]) -> str:
    """The innermost function of ours tells; the standard library works for its caller."""
    for path in _files(frames):
        below = path.rpartition("/src/modelplex/")[2]
        if below != path:
            return next((part for start, part in _MODULES if below.startswith(start)), OTHER)
        if path.endswith(_HANDLERS):
            return "handler"
    return OTHER


def _files(frames: list[str]) -> Iterator[str]:
    for frame in reversed(frames):
        match = _FILE.search(frame)
        if match:
            yield match[1]


def shares(processor: Mapping[str, int], python: Mapping[str, int]) -> dict[str, float]:
    """Part -> share of a process's CPU time: perf's division, the Python in it by py-spy's."""
    samples = sum(processor.values())
    if samples == 0:
        return {}
    found = {part: count / samples for part, count in processor.items() if part != PYTHON}
    interpreted = processor.get(PYTHON, 0) / samples
    if sum(python.values()) < SAMPLES_MIN:
        python = {UNKNOWN: 1}
    for part, count in python.items():
        found[part] = found.get(part, 0.0) + interpreted * count / sum(python.values())
    return found
