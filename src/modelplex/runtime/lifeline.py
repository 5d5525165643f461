"""Ties a process to the life of its host, so firmly that not even a hung process outlives it.

The host alone holds the write end of a pipe. A process that holds the read end asks the kernel to
send it SIGKILL when that pipe has news (F_SETSIG, O_ASYNC). Nothing is ever written to it, so the
only news is that the write end was closed: the host exited, crashed or was killed with SIGKILL.
The kernel delivers the signal: it needs no Python, and busy loops, blocked signals and hung C code
do not keep it away.

The owner of the signal belongs to the open file description, which a fork shares. Therefore each
process opens the pipe anew through /proc/self/fd.

    python lifeline.py DESCRIPTOR PROGRAM ARGUMENT...       becomes that program, tied to the pipe
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys

_F_SETSIG = 10  # Linux; Python before 3.10 has no name for it
_held: int | None = None  # this process's own description of the pipe


def attach(pipe: int) -> None:
    """Kills this process's group when the host dies, or now if it is dead already.

    `pipe` is any descriptor of the read end; it is left open.
    """
    _hold(pipe, -os.getpgrp())


def lead_group() -> None:
    """The same for a forked child that leads a group of its own now."""
    if _held is not None:
        _hold(_held, -os.getpgrp())


def attach_forked_child() -> None:
    """The same for a process just forked, which may leave the group. For register_at_fork."""
    if _held is not None:
        _hold(_held, os.getpid())


def _hold(pipe: int, owner: int) -> None:
    global _held  # noqa: PLW0603  one lifeline per process
    descriptor = os.open("/proc/self/fd/%d" % pipe, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, owner)
    fcntl.fcntl(descriptor, _F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)
    if _held is not None:
        os.close(_held)
    _held = descriptor
    poll = select.poll()
    poll.register(descriptor, 0)
    if poll.poll(0):  # hung up before the signal was armed
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Becomes another program, whose process group dies with the host."""
    pipe, program = int(sys.argv[1]), sys.argv[2]
    attach(pipe)
    os.close(pipe)
    assert _held is not None
    os.set_inheritable(_held, True)
    try:
        os.execv(program, sys.argv[2:])
    except OSError as error:
        sys.exit("cannot run %s: %s" % (program, error.strerror))


if __name__ == "__main__":
    main()
