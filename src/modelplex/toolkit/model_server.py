"""Starts the model server as containers of the inference toolkit do: from one line of Python.

Different from the SageMaker Inference Toolkit on purpose: this process becomes the server, so that
signals reach it and nothing waits beside it; the configuration file needs no root; a model's
`code/requirements.txt` is installed by the server when the model is loaded, in both modes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile

from modelplex.toolkit import environment
from modelplex.toolkit.environment import Environment

log = logging.getLogger("modelplex.toolkit")

DEFAULT_HANDLER_SERVICE = "modelplex.toolkit.handler_service"
DEFAULT_MODEL_NAME = "model"
HANDLER_ENV = "SAGEMAKER_HANDLER"

_LAUNCH = "import sys; from modelplex.server.launch import main; sys.exit(main())"


def start_model_server(handler_service: str = DEFAULT_HANDLER_SERVICE) -> None:
    """Becomes the server, and so returns only by raising: ValueError for a bad variable, OSError.

    `handler_service` names a handler, `module`, `/path/module.py` or `/path/module.py:function`. In
    multi-model mode SAGEMAKER_HANDLER wins over it.
    """
    env = Environment()
    if environment.multi_model:
        handler_service = os.environ.setdefault(HANDLER_ENV, handler_service)
    properties = config_properties(env, handler_service)
    argv = command(_write(f"modelplex-{os.getuid()}-{env.inference_http_port}", properties))
    log.info("starting %s", argv)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execv(argv[0], argv)


def config_properties(env: Environment, handler_service: str) -> str:
    """The text of config.properties."""
    address = "http://0.0.0.0:{}"
    workers = "1" if environment.multi_model else None
    found = {
        "enable_envvars_config": "true",
        "decode_input_request": "false",
        "default_service_handler": handler_service,
        "default_workers_per_model": env.model_server_workers or workers,
        "default_response_timeout": env.model_server_timeout,
        "default_response_timeout_seconds": env.model_server_timeout_seconds,
        "inference_address": address.format(env.inference_http_port),
        "management_address": address.format(env.management_http_port),
        "max_request_size": env.max_request_size,
    }
    lines = (f"{name}={_escaped(str(value))}" for name, value in found.items() if value is not None)
    return "\n".join([*lines, ""])


def command(config_file: str) -> list[str]:
    """The command that becomes the server."""
    argv = [sys.executable, "-c", _LAUNCH, "--start", "--foreground"]
    argv += ["--model-store", "/", "--mms-config", config_file]
    if not environment.multi_model:
        argv += ["--models", f"{DEFAULT_MODEL_NAME}={environment.model_dir}"]
    return argv


def _write(name: str, text: str) -> str:
    """Into a file that only this user can have made, in place of the last start's."""
    path = os.path.join(tempfile.gettempdir(), f"{name}.properties")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _escaped(value: str) -> str:
    """As a value in a file of Java properties."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")
