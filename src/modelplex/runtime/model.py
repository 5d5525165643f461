"""A model in a process: the host's order to load it, and how it answers requests."""

from __future__ import annotations

import traceback
from typing import Any, NamedTuple

from modelplex.runtime import answers, frames, handlers, inputs
from modelplex.runtime.arena import Arena
from modelplex.runtime.context import Context
from modelplex.runtime.twin import NamelessContext


class Order(NamedTuple):
    """What the host's LOAD says. Sizes in bytes; `limit_bytes` 0 means no limit.

    `later_bytes`, if more, is the limit once the model is loaded: predicting may take much more
    for a moment, and what stays is measured by the host.
    """

    name: str
    folder: str
    code: str
    handler: str
    fallback: str
    limit_bytes: int
    later_bytes: int
    slack_bytes: int
    response_bytes_max: int
    gpu_id: int | None
    batch_size: int
    decode: bool
    template: bool
    twins: bool


class Model(NamedTuple):
    """What answers requests."""

    entry: handlers.Entry
    context: Context
    response_bytes_max: int
    decode: bool


def describe(order: Order) -> Context:
    """What the handler will be told. Raises HandlerError for an unreadable manifest."""
    manifest = handlers.read_manifest(order.folder)
    kind = NamelessContext if order.twins else Context
    return kind(order.name, order.folder, manifest, order.batch_size, order.gpu_id)


def answer(
    model: Model, batch: list[frames.Frame], arena: Arena | None = None
) -> list[frames.Data]:
    """The answers to a batch as buffers; large bodies are left in the arena."""
    entry_point, context, bytes_max, decode = model
    data: list[dict[str, Any]] = []
    requests: list[inputs.Request] = []
    refused: list[tuple[int, answers.Answer]] = []
    for frame in batch:
        try:
            entry, request = inputs.read(frame, decode)
        except (inputs.InputError, MemoryError) as error:
            refused.append((len(data) + len(refused), _refusal(error)))
        else:
            data.append(entry)
            requests.append(request)
    given: list[answers.Answer] = []
    if data:
        context.begin(requests)
        given = answers.ask(entry_point, context, data)
        context.emit_metrics()
    for at, refusal in refused:  # in ascending order, so each comes to its place
        given.insert(at, refusal)
    number = batch[0].request
    if len(given) == 1:
        return encode(number, given[0], bytes_max, 0, arena)
    parts: list[frames.Data] = []
    for at, one in enumerate(given, 1):
        parts += encode(number, one, bytes_max, len(given) - at, arena)
    return parts


def encode(
    number: int,
    given: answers.Answer,
    bytes_max: int,
    left: int = 0,
    arena: Arena | None = None,
) -> list[frames.Data]:
    """The buffers of one answer, or of one that says why that cannot be sent."""
    meta, body = given
    if len(body) > bytes_max or len(meta) > frames.META_BYTES_MAX:
        meta, body = _too_large(given, bytes_max)
    return frames.encode(frames.ANSWER, number, meta, body, left, arena)


def load_failure(error: BaseException) -> tuple[int, str]:
    """The status and message for what a handler raised while it loaded; its traceback is logged."""
    if answers.lacks_memory(error):
        traceback.clear_frames(error.__traceback__)
        return 507, "Out of resources"
    if not isinstance(error, handlers.HandlerError):
        answers.note(error)
    text = str(error) if isinstance(error, handlers.HandlerError) else answers.describe(error)
    message = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return answers.prediction_code(error) or _toolkit_status(error) or 500, message


def _toolkit_status(error: BaseException) -> int | None:
    """The status that an error of the inference toolkit (ours or AWS's) asks for."""
    names = [each.__name__ for each in type(error).__mro__]
    status = getattr(error, "status_code", None)
    if "BaseInferenceToolkitError" in names and isinstance(status, int) and 400 <= status <= 599:
        return status
    return None


def _refusal(error: Exception) -> answers.Answer:
    """The answer to a request that the handler does not get to see."""
    if isinstance(error, MemoryError):
        return answers.explain(error)
    return answers.failure(400, str(error), "input")


def _too_large(given: answers.Answer, bytes_max: int) -> answers.Answer:
    """What is sent instead."""
    meta, body = given
    text = f"the handler's answer has {len(body)} bytes; at most {bytes_max} are allowed"
    if len(body) <= bytes_max:
        text = f"the handler's response headers have {len(meta)} bytes, which is too much"
    return answers.failure(500, text, "invalid")
