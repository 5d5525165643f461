"""One Config out of environment, command line and properties file, as Multi Model Server reads it.

Weakest first: defaults; in SageMaker's multi-model mode without a file its variables; the file;
the command line; with `enable_envvars_config` the variables MMS_PROPERTY.
"""

from __future__ import annotations

import difflib
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelplex.server.config import Config, ConfigError, cpus
from modelplex.server.start import properties, values
from modelplex.server.start.values import FIELDS, SECONDS, Given, typed

DEFAULT_FILE = Path("config.properties")
PREFIX = "MMS_"
ENABLE = "enable_envvars_config"
_NO_JVM = "there is no JVM here; of these only -Dlog4j.configurationFile is used"
_NO_NETTY = "there is no Netty here; one event loop carries all connections"
UNUSED = {  # Multi Model Server's properties without a meaning here: why
    "vmargs": _NO_JVM,
    "number_of_netty_threads": _NO_NETTY,
    "netty_client_threads": _NO_NETTY,
    "prefer_direct_buffer": _NO_NETTY,
    "use_native_io": _NO_NETTY,
    "io_ratio": _NO_NETTY,
    "plugins_path": "Java endpoint plugins cannot be run",
    "model_server_home": "nothing is looked up there",
}
# What `--mms-config sagemaker` means to Multi Model Server.
_SAGEMAKER_FILE = {
    "model_store": "$$SAGEMAKER_MODEL_STORE$$",
    "inference_address": "http://0.0.0.0:$$SAGEMAKER_BIND_TO_PORT$$",
    "management_address": "http://0.0.0.0:$$SAGEMAKER_BIND_TO_PORT$$",
    "default_response_timeout": "$$SAGEMAKER_RESPONSE_TIMEOUT$$",
    "unregister_model_timeout": "$$SAGEMAKER_RESPONSE_TIMEOUT$$",
    "default_workers_per_model": "$$SAGEMAKER_NUM_MODEL_WORKERS$$",
    "default_service_handler": "$$SAGEMAKER_HANDLER$$",
    "max_response_size": "$$SAGEMAKER_MAX_RESPONSE_SIZE$$",
    "max_request_size": "$$SAGEMAKER_MAX_REQUEST_SIZE$$",
    "decode_input_request": "false",
}
_KNOWN = (*FIELDS, *UNUSED, ENABLE, SECONDS)


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a command line said: None and () where it said nothing."""

    config_file: str | None = None  # a path, or "sagemaker"
    model_store: str | None = None
    models: tuple[str, ...] = ()  # [name=]url
    log_config: str | None = None
    overrides: tuple[tuple[str, str], ...] = ()  # further (property, value)


def resolve(arguments: Arguments, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration; its `warnings` name what is not used. Raises ConfigError."""
    given = _from_file(arguments, environ) | _from_arguments(arguments)
    models = arguments.models
    if _is_enabled(given):
        given |= (variables := _from_variables(environ))
        models = () if "load_models" in variables else models
    warnings = [*_unused(given), *_ignored_variables(given, environ)]
    config = replace(Config(), **values.changes(given))
    if models:
        config = replace(config, load_models="", models=tuple(map(model, models)))
    config = _with_environment(config, given, environ)
    config = _with_sizes(config, given)
    return replace(config, warnings=(*warnings, *values.check_together(config)))


def model(text: str) -> tuple[str, str]:
    """`[name=]url` as (name or "", url); a "=" after the first "/" belongs to the URL."""
    name, found, url = text.partition("=")
    return (name, url) if found and "/" not in name else ("", text)


# -- layers ------------------------------------------------------------------------------------


def _from_file(arguments: Arguments, environ: Mapping[str, str]) -> dict[str, Given]:
    path = environ.get("MMS_CONFIG_FILE") or arguments.config_file
    if path == "sagemaker":
        return _substituted(_SAGEMAKER_FILE, environ, "--mms-config sagemaker")
    if path is None and not DEFAULT_FILE.is_file():
        return _sagemaker(environ)
    file = Path(path or DEFAULT_FILE)
    try:
        found = properties.parse(file.read_bytes())
    except (OSError, ConfigError) as error:
        raise ConfigError(f"The configuration file {file} cannot be read: {error}.") from None
    return _substituted(found, environ, str(file))


def _substituted(
    found: Mapping[str, str], environ: Mapping[str, str], place: str
) -> dict[str, Given]:
    """The values of a file; empty ones count as not given."""
    texts = {n: properties.substituted(n, v, environ, place) for n, v in found.items()}
    return {name: Given(text, f"{name} in {place}") for name, text in texts.items() if text}


def _sagemaker(environ: Mapping[str, str]) -> dict[str, Given]:
    """What SageMaker's variables say where there is no file; nothing but in multi-model mode."""
    if environ.get("SAGEMAKER_MULTI_MODEL") != "true":
        return {}
    address = f"http://0.0.0.0:{environ.get('SAGEMAKER_BIND_TO_PORT') or 8080}"
    fixed = {ENABLE: "true", "model_store": "/", "decode_input_request": "false"}
    fixed |= {"inference_address": address, "management_address": address}
    given = {name: Given(text, "SAGEMAKER_BIND_TO_PORT") for name, text in fixed.items()}
    given["default_workers_per_model"] = Given("1", "")
    given["default_response_timeout"] = Given("60", "")
    for variable, name in (
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "default_workers_per_model"),
        ("SAGEMAKER_MODEL_SERVER_TIMEOUT", "default_response_timeout"),
        ("SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS", SECONDS),
        ("SAGEMAKER_HANDLER", "default_service_handler"),
    ):
        if text := environ.get(variable):
            given[name] = Given(text, variable)
    if text := environ.get(variable := "SAGEMAKER_MAX_PAYLOAD_IN_MB"):
        size = int(typed(int, variable, text) * 1024 * 1024)
        given["max_request_size"] = Given(str(size), variable)
    return given


def _from_arguments(arguments: Arguments) -> dict[str, Given]:
    said = {"model_store": arguments.model_store, "log_config": arguments.log_config}
    options = {name: Given(text, _option(name)) for name, text in said.items() if text}
    return options | {name: Given(text, _option(name)) for name, text in arguments.overrides}


def _from_variables(environ: Mapping[str, str]) -> dict[str, Given]:
    names = {name: PREFIX + name.upper() for name in _KNOWN}
    return {n: Given(text, each) for n, each in names.items() if (text := environ.get(each))}


def _with_environment(
    config: Config, given: Mapping[str, Given], environ: Mapping[str, str]
) -> Config:
    """The variables that hold always, and what is said in words of the JVM."""
    changes: dict[str, Any] = {
        name: Path(text)
        for name in ("log_location", "metrics_location")
        if (text := environ.get(name.upper()))
    }
    if "multi_model" not in given:
        changes["multi_model"] = environ.get("SAGEMAKER_MULTI_MODEL") == "true"
    words = given["vmargs"].text.split() if "vmargs" in given else []
    for word in words:
        if config.log_config is None and word.startswith("-Dlog4j.configurationFile="):
            changes["log_config"] = Path(word.partition("=")[2].removeprefix("file://"))
    return replace(config, **changes)


def _with_sizes(config: Config, given: Mapping[str, Given]) -> Config:
    """The numbers that depend on this machine."""
    there = 0 if config.number_of_gpu == 0 and "number_of_gpu" in given else count_gpus()
    gpus = min(config.number_of_gpu, there) if "number_of_gpu" in given else there
    asked = config.default_workers_per_model if "default_workers_per_model" in given else 0
    workers = 1 if config.debug else asked or gpus or cpus()
    return replace(config, number_of_gpu=gpus, default_workers_per_model=workers)


def count_gpus() -> int:
    """How many GPUs nvidia-smi lists; 0 without it."""
    if (program := shutil.which("nvidia-smi")) is None:
        return 0
    query = [program, "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    return len(done.stdout.split())


def _is_enabled(given: Mapping[str, Given]) -> bool:
    found = given.get(ENABLE)
    return found is not None and bool(typed(bool, found.place, found.text))


# -- what is not used --------------------------------------------------------------------------


def _unused(given: Mapping[str, Given]) -> list[str]:
    """A sentence for each given property that has no effect."""
    told = [f"{each.place} has no effect: {UNUSED[n]}." for n, each in given.items() if n in UNUSED]
    for name, each in given.items():
        if name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN, n=1)
            told.append(
                f"{each.place}: there is no such property; it has no effect."
                + (f" Did you mean {near[0]}?" if near else "")
            )
    return told


def _ignored_variables(given: Mapping[str, Given], environ: Mapping[str, str]) -> list[str]:
    """A sentence for each MMS_PROPERTY variable, where the file does not let them count."""
    if _is_enabled(given):
        return []
    names = [each.place for each in _from_variables(environ).values()]
    return [f"{name} has no effect: {ENABLE} is not true." for name in names]


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
