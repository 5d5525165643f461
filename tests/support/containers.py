"""Our model server as a container's command, with the settings that other servers get too."""

from __future__ import annotations

import sys
from pathlib import Path

# What the inference toolkit writes in multi-model mode, on the port that the platform chose.
SETTINGS = {
    "enable_envvars_config": "true",
    "default_service_handler": "default_handler.py:handle",
    "default_workers_per_model": "1",
    "async_logging": "true",
    "decode_input_request": "false",
    "default_response_timeout": "60",
    "inference_address": "http://127.0.0.1:$$SAGEMAKER_BIND_TO_PORT$$",
    "management_address": "http://127.0.0.1:$$SAGEMAKER_BIND_TO_PORT$$",
}

# What stands in the image for models that bring no handler.
DEFAULT_HANDLER = """def handle(data, context):
    return data and [row.get("body") for row in data]
"""


def settings(folder: Path, **changes: str) -> Path:
    """A properties file in `folder`, and the image's handler beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "default_handler.py").write_text(DEFAULT_HANDLER)
    lines = [f"{name}={text}\n" for name, text in {**SETTINGS, **changes}.items()]
    path = folder / "server.properties"
    path.write_text("".join(lines))
    return path


def modelplex(folder: Path, **changes: str) -> list[str]:
    """A command that runs our server as a container does, with its files in `folder`."""
    return [
        *("env", f"PYTHONPATH={folder}", f"LOG_LOCATION={folder}", f"METRICS_LOCATION={folder}"),
        *(sys.executable, "-m", "modelplex.server"),
        *("--mms-config", str(settings(folder, **changes)), "--model-store", "/"),
    ]
