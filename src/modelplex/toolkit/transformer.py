"""One request through the user's functions: input_fn, predict_fn, output_fn, or transform_fn.

Names as in the SageMaker Inference Toolkit's `transformer.py`, with those that begin with `_` too,
for subclasses out there use them. Different on purpose: every request of a batch has its own
headers, status and content type; a lack of memory is raised as MemoryError, which servers answer
with 507; an answer tells what failed, and the stack trace goes to the log.
"""

from __future__ import annotations

import functools
import inspect
import logging
import traceback
from collections.abc import Callable
from typing import Any

from modelplex.toolkit import batching, content_types, decoder, environment, errors, user_code
from modelplex.toolkit.default_inference_handler import DefaultInferenceHandler

log = logging.getLogger("modelplex.toolkit")

_STEPS = ("input_fn", "predict_fn", "output_fn")


class Transformer:
    """The user's functions, and the model that they made."""

    def __init__(self, default_inference_handler: Any = None) -> None:
        """Functions that the user's module lacks are taken from `default_inference_handler`."""
        self._default_inference_handler = default_inference_handler or DefaultInferenceHandler()
        self._initialized = False
        self._environment: environment.Environment | None = None
        self._model: Any = None
        self._pre_model_fn: Any = None
        self._model_warmup_fn: Any = None
        self._model_fn: Any = None
        self._transform_fn: Any = None
        self._input_fn: Any = None
        self._predict_fn: Any = None
        self._output_fn: Any = None
        self._context: Any = None
        self._together = False  # whether many requests' rows are predicted at once

    def validate_and_initialize(
        self, model_dir: str = environment.model_dir, context: Any = None
    ) -> None:
        """Imports the user's module and loads the model, once.

        Raises whatever the user's functions raise; MemoryError when a framework lacks memory;
        ValueError and TypeError where the functions are not what the contract says.
        """
        if self._initialized:
            return
        self._context = context
        self._environment = environment.Environment()
        user_code.offer(model_dir)
        try:
            self._validate_user_module_and_set_functions()
            self._load(model_dir)
        except Exception as error:
            if errors.lacks_memory(error):
                raise MemoryError(str(error)) from error
            raise
        self._initialized = True

    def transform(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """One answer for each request of the batch. Raises MemoryError, and nothing else."""
        if self._together and len(data) > 1:
            return self._answer_together(data, context)
        return [self._answer(index, item, context) for index, item in enumerate(data)]

    @staticmethod
    def handle_error(
        context: Any,
        inference_exception: errors.BaseInferenceToolkitError,
        trace: str,
        idx: int = 0,
    ) -> list[str]:
        """Sets the status that an error asks for; returns its message, and `trace` if there is."""
        phrase = " ".join(str(inference_exception.phrase).split())
        context.set_response_status(code=inference_exception.status_code, phrase=phrase, idx=idx)
        context.set_response_content_type(idx, "text/plain; charset=utf-8")
        message = inference_exception.message
        return [f"{message}\n{trace}" if trace else message]

    def _load(self, model_dir: str) -> None:
        if self._pre_model_fn is not None:
            self._run_handler_function(self._pre_model_fn, model_dir)
        self._model = self._run_handler_function(self._model_fn, model_dir)
        if self._model_warmup_fn is not None:
            self._run_handler_function(self._model_warmup_fn, model_dir, self._model)

    def _answer(self, index: int, item: dict[str, Any], context: Any) -> Any:
        try:
            model_dir = context.system_properties.get("model_dir")
            self.validate_and_initialize(model_dir=model_dir, context=context)
            self._context = context
            body, content_type, accept = self._request(index, item, context)
            arguments = (self._model, body, content_type, accept)
            result = self._run_handler_function(self._transform_fn, *arguments)
            return self._respond(index, result, accept, context)
        except Exception as error:
            return self._fail(error, context, index)

    def _answer_together(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """The default functions' answers: input and output for each request, prediction for all."""
        self._context = context
        asked = [
            batching.attempt(self._request, index, item, context) for index, item in enumerate(data)
        ]
        rows = [batching.attempt(self._input, request) for request in asked]
        outcomes = batching.predict(
            rows, lambda joined: self._run_handler_function(self._predict_fn, joined, self._model)
        )
        return [
            self._finish(index, request, outcomes[index], context)
            for index, request in enumerate(asked)
        ]

    def _finish(self, index: int, request: Any, outcome: Any, context: Any) -> Any:
        """The answer to one request of a batch, from its part of the prediction."""
        try:
            if isinstance(outcome, batching.Failed):
                raise outcome.error
            accept = request[2]
            result = self._run_handler_function(self._output_fn, outcome, accept)
            return self._respond(index, result, accept, context)
        except Exception as error:
            return self._fail(error, context, index)

    def _input(self, request: Any) -> Any:
        """What the default input function makes of a request. Raises what it raises."""
        if isinstance(request, batching.Failed):
            raise request.error
        body, content_type, _ = request
        return self._run_handler_function(self._input_fn, body, content_type)

    def _request(self, index: int, item: dict[str, Any], context: Any) -> tuple[Any, Any, Any]:
        """Body, content type and accepted types. Raises MalformedInputError."""
        headers = context.get_all_request_header(index)
        content_type = _header(headers, "content-type", "contenttype")
        accept = _header(headers, "accept")
        if not accept or accept.strip() == content_types.ANY:
            assert self._environment is not None
            accept = self._environment.default_accept
        body = item.get("body", item)  # a form has fields instead
        if content_types.media_type(content_type) in content_types.UTF8_TYPES:
            body = decoder.text(body)
        return body, content_type, accept

    def _respond(self, index: int, result: Any, accept: str, context: Any) -> Any:
        """The body of an answer; sets its content type."""
        if isinstance(result, tuple):
            response, given = result
            context.set_response_content_type(index, given)
            return response
        named = next((one for one in content_types.accepted(accept) if "*" not in one), None)
        if named and context.get_response_content_type(index) is None:
            context.set_response_content_type(index, named)
        return result

    def _fail(self, error: Exception, context: Any, index: int) -> Any:
        """The body of an answer that tells what failed. Raises MemoryError."""
        if errors.lacks_memory(error):
            raise MemoryError(str(error)) from error
        return self._explain(error, context, index)

    def _explain(self, error: Exception, context: Any, index: int) -> Any:
        known = _known(error)
        log.error("inference failed: %s", known.message, exc_info=known.status_code >= 500)
        asked = self._environment is not None and self._environment.tracebacks
        trace = traceback.format_exc() if asked else ""
        return self.handle_error(context, known, trace, index)[0]

    def _validate_user_module_and_set_functions(self) -> None:
        """Takes what the user's module has, and the defaults for the rest."""
        assert self._environment is not None
        module = user_code.find(self._environment.module_name)
        steps = [name for name in _STEPS if getattr(module, name, None)]
        if steps and getattr(module, "transform_fn", None):
            raise ValueError(f"use either transform_fn or {', '.join(steps)}, not both")
        self._pre_model_fn = self._function(module, "pre_model_fn", 1)
        self._model_fn = self._function(module, "model_fn", 1)
        self._model_warmup_fn = self._function(module, "model_warmup_fn", 2)
        self._input_fn = self._function(module, "input_fn", 2)
        self._predict_fn = self._function(module, "predict_fn", 2)
        self._output_fn = self._function(module, "output_fn", 2)
        own = getattr(module, "transform_fn", None)
        if not steps and own is None:
            self._take_batches()
        self._transform_fn = own or self._default_transform_fn
        takes_context(self._transform_fn, 4)

    def _take_batches(self) -> None:
        """Where nothing is the user's, the handler may read requests for itself and predict for
        many at once: `batches`, and `default_rows_fn` in place of `default_input_fn`."""
        handler = self._default_inference_handler
        self._together = bool(getattr(handler, "batches", False))
        rows_fn = getattr(handler, "default_rows_fn", None)
        if self._together and rows_fn is not None:
            takes_context(rows_fn, 2)
            self._input_fn = rows_fn

    def _function(self, module: Any, name: str, arguments: int) -> Any:
        default = getattr(self._default_inference_handler, f"default_{name}", None)
        function = getattr(module, name, None) or default
        if function is not None:
            takes_context(function, arguments)  # better now than at each request
        return function

    def _default_transform_fn(
        self, model: Any, input_data: Any, content_type: str, accept: str, context: Any = None
    ) -> Any:
        data = self._run_handler_function(self._input_fn, input_data, content_type)
        prediction = self._run_handler_function(self._predict_fn, data, model)
        return self._run_handler_function(self._output_fn, prediction, accept)

    def _run_handler_function(self, func: Callable[..., Any], *argv: Any) -> Any:
        """Calls one of the user's functions, with the context as its last argument if it takes one
        argument more."""
        return func(*argv, self._context) if takes_context(func, len(argv)) else func(*argv)


@functools.lru_cache(maxsize=256)
def takes_context(func: Callable[..., Any], arguments: int) -> bool:
    """Whether a function has a place for the context behind its arguments. Raises TypeError where
    it does not even take those."""
    parameters = inspect.signature(func).parameters.values()
    count = sum(
        1 for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    )
    if count in (arguments, arguments + 1):
        return count > arguments
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return False
    name = getattr(func, "__name__", repr(func))
    text = f"{name} takes {count} arguments: it must take {arguments}, or one more for the context"
    raise TypeError(text)


def _header(headers: dict[str, Any], *names: str) -> Any:
    for key, value in headers.items():
        if key.lower() in names:
            return value
    return None


def _known(error: Exception) -> errors.BaseInferenceToolkitError:
    """Any exception as one that has a status."""
    if isinstance(error, errors.BaseInferenceToolkitError):
        return error
    if type(error).__name__ == "PredictionException":  # of any `mms`
        status, message = getattr(error, "error_code", 500), getattr(error, "message", str(error))
        return errors.GenericInferenceToolkitError(status, message)
    message = f"{type(error).__name__}: {error}"
    return errors.GenericInferenceToolkitError(500, message, "Internal Server Error")
