"""What the environment variables say, read once.

Names as in the SageMaker Inference Toolkit's `environment.py`. The timeouts are seconds, both of
them; a number that is none is refused with a sentence.
"""

from __future__ import annotations

import os

from modelplex.toolkit import content_types, parameters

DEFAULT_MODULE_NAME = "inference.py"
DEFAULT_MODEL_SERVER_TIMEOUT = "60"
DEFAULT_STARTUP_TIMEOUT = "600"
DEFAULT_HTTP_PORT = "8080"
SAGEMAKER_BASE_PATH = os.path.join("/opt", "ml")

base_dir = os.environ.get(parameters.BASE_PATH_ENV, SAGEMAKER_BASE_PATH)
multi_model = os.environ.get(parameters.MULTI_MODEL_ENV, "").lower() == "true"
model_dir = os.path.join(base_dir, "models" if multi_model else "model")
code_dir = os.path.join(model_dir, "code")


class Environment:
    """A snapshot. Raises ValueError where a variable does not hold the number that it should."""

    def __init__(self) -> None:
        program = os.environ.get(parameters.USER_PROGRAM_ENV) or DEFAULT_MODULE_NAME
        seconds = _number(parameters.MODEL_SERVER_TIMEOUT_ENV, DEFAULT_MODEL_SERVER_TIMEOUT)
        port = os.environ.get(parameters.BIND_TO_PORT_ENV) or DEFAULT_HTTP_PORT
        megabytes = _number(parameters.MAX_REQUEST_SIZE)
        accept = os.environ.get(parameters.DEFAULT_INVOCATIONS_ACCEPT_ENV)
        self.module_name = program[:-3] if program.endswith(".py") else program
        self.model_server_timeout = seconds
        self.model_server_timeout_seconds = _number(parameters.MODEL_SERVER_TIMEOUT_SECONDS_ENV)
        self.model_server_workers = os.environ.get(parameters.MODEL_SERVER_WORKERS_ENV)
        self.startup_timeout = _number(parameters.STARTUP_TIMEOUT_ENV, DEFAULT_STARTUP_TIMEOUT)
        self.default_accept = accept or content_types.JSON
        self.inference_http_port = port
        self.management_http_port = port
        self.safe_port_range = os.environ.get(parameters.SAFE_PORT_RANGE_ENV)
        self.max_request_size = None if megabytes is None else megabytes * 1024 * 1024  # bytes
        self.tracebacks = os.environ.get(parameters.TRACEBACKS_ENV, "").lower() == "true"


def _number(name: str, default: str | None = None) -> int | None:
    text = os.environ.get(name) or default
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}: set it to a whole number") from None
