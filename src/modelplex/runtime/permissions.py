"""Makes root heed the permissions of files, so that read-only means read-only for it too.

Byte-identical models share their files. A process of any other user cannot write into a read-only
file; root can, by a capability which this gives up for good, also for what is started later.
"""

from __future__ import annotations

import ctypes
import os

_DAC_OVERRIDE = 1  # the capability to write where no permission is given
_CAPBSET_DROP = 24
_VERSION_3 = 0x20080522  # of the interface: 64 capabilities, as two halves of 32
_INHERITABLE_LOW = 2  # words: effective, permitted, inheritable; then the same for the upper half


def obey() -> None:
    """Gives up the right of root to write into read-only files. Raises OSError."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_CAPBSET_DROP, _DAC_OVERRIDE, 0, 0, 0)  # fails where there is nothing to give up
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    words = (ctypes.c_uint32 * 6)()
    if libc.capget(header, words) == 0:
        for at in range(_INHERITABLE_LOW + 1):
            words[at] &= ~(1 << _DAC_OVERRIDE) & 0xFFFFFFFF
        if libc.capset(header, words) == 0:
            return
    number = ctypes.get_errno()
    raise OSError(number, "root cannot give up writing to read-only files: " + os.strerror(number))
