"""Holding the questions of waiters until the answer changes.

boto3's `endpoint_in_service` and `endpoint_deleted` ask, and while the endpoint is in transition
sleep 30 seconds before they ask again; the SageMaker Python SDK does the same. Such a question is
held here while the endpoint is Creating or Deleting, or in service without any instance that
answers yet, and answered at the moment when that changes. Everyone else is answered at once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

_BOTOCORE = re.compile(r"\bbotocore[/#](\d+)\.(\d+)", re.IGNORECASE)
_FEATURES = re.compile(r"(?:^| )m/([^ ]*)")
_MARKS_WAITERS_SINCE = (1, 37)  # botocore's first version whose User-Agent tells a waiter's call
_WAITER = "B"  # its letter among the features, the same in all of AWS's SDKs
_SAYS_SO = ("AWS-SageMaker-Python-SDK", "md/command#sagemaker.wait.")  # the latter: aws-cli 2


def is_waiter(user_agent: str) -> bool:
    """Whether this client would sleep long before it asked again.

    An SDK that marks its waiters is taken at its word. In an older botocore a waiter cannot be told
    from a plain question, so both are held: the latter then takes longer, but is answered.
    """
    if any(mark in user_agent for mark in _SAYS_SO):
        return True
    features = _FEATURES.search(user_agent)
    if features is not None and _WAITER in features[1].split(","):
        return True
    version = _BOTOCORE.search(user_agent)
    return version is not None and (int(version[1]), int(version[2])) < _MARKS_WAITERS_SINCE


class Changes:
    """A bell for all who wait for a change of the same thing."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def ring(self) -> None:
        """Wake everyone who waits."""
        self._next.set()
        self._next = asyncio.Event()

    async def hold(self, pending: Callable[[], bool], limit_s: float | None) -> None:
        """Return as soon as `pending()` is false, or after `limit_s` if there is a limit."""
        try:
            async with asyncio.timeout(limit_s):
                while pending():
                    await self._next.wait()
        except TimeoutError:
            return
