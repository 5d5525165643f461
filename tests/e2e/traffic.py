"""Traffic for failure tests: a bounded number of clients, and an account of what they saw."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.support.platform import Deployed

CLIENTS = 4
DURATION_MAX_S = 60.0


@dataclass
class Seen:
    """What the clients saw: answers by model, failures by code, and wrong answers."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.answers.values())


@contextmanager
def traffic(deployed: Deployed, models: Sequence[str], body: bytes = b"x") -> Iterator[Seen]:
    """Invoke `models` in turn from a few clients, without retries, until the block ends."""
    seen, stop = Seen(), threading.Event()
    runtime = deployed.platform.client("sagemaker-runtime")
    ends = time.monotonic() + DURATION_MAX_S

    def client(offset: int) -> None:
        turn = offset
        while not stop.is_set() and time.monotonic() < ends:
            turn += 1
            ask(runtime, deployed, models[turn % len(models)], body, seen)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=90)
    assert not any(thread.is_alive() for thread in threads), "a client never got an answer"


def ask(runtime: Any, deployed: Deployed, model: str, body: bytes, seen: Seen) -> None:
    """One request, entered in the account."""
    try:
        answer = runtime.invoke_endpoint(EndpointName=deployed.name, TargetModel=model, Body=body)
        text = answer["Body"].read().decode()
    except ClientError as error:
        seen.failures[error.response["Error"]["Code"]] += 1
        seen.details.append(str(error))
    except BotoCoreError as error:
        seen.failures[type(error).__name__] += 1
        seen.details.append(str(error))
    else:
        seen.answers[model] += 1
        if f'"weights": "{model}"' not in text:
            seen.wrong.append(f"{model}: {text}")
