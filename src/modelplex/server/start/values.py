"""Property values: from the text in which they are given to the type of their field, checked."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from modelplex.server.config import Config, ConfigError, documentation

SECONDS = "default_response_timeout_seconds"  # wins over the property without the word
FIELDS = {name: each for each, (name, _, _) in documentation().items()}  # property -> field
_TYPES = get_type_hints(Config)
_MAY_BE_ZERO = {
    "default_workers_per_model",
    "number_of_gpu",
    "memory_limit_bytes",
    "drain_timeout_s",
    "restart_delay_max_s",
}
_ADDRESS = re.compile(r"(https?)://([^/:\s]+|\[[0-9a-fA-F:.]+\])(:\d+)?/?", re.IGNORECASE)
_PORTS = {  # where an address names none: Multi Model Server's choice
    ("inference_address", "http"): 80,
    ("inference_address", "https"): 443,
    ("management_address", "http"): 8081,
    ("management_address", "https"): 8444,
}


@dataclass(frozen=True, slots=True)
class Given:
    """A property's value as it was written, and where."""

    text: str
    place: str


def changes(given: Mapping[str, Given]) -> dict[str, Any]:
    """The given values as their fields' types, each checked."""
    given = dict(given)
    if SECONDS in given:
        given["default_response_timeout"] = given[SECONDS]
    return {
        FIELDS[name]: _checked(name, typed(_TYPES[FIELDS[name]], each.place, each.text), each)
        for name, each in given.items()
        if name in FIELDS
    }


def typed(kind: object, place: str, text: str) -> Any:
    """A text as the type of its field."""
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind is int:
            return int(text)
        if kind is float and math.isfinite(number := float(text)):
            return number
    except (ValueError, KeyError):
        pass
    if kind in (bool, int, float):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise ConfigError(f"{place}: must be {wanted}, not {text!r}.")
    if kind == tuple[str, ...]:
        return tuple(part for each in text.split(",") if (part := each.strip()))
    return text if kind is str else Path(text)


def _checked(name: str, value: Any, given: Given) -> Any:
    """Refuses values that nothing could live with; gives addresses their port."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(value, name in _MAY_BE_ZERO, given)
    if name.endswith("_address"):
        return _address(name, given)
    if name in ("blacklist_env_vars", "allowed_urls"):
        _check_expressions((value,) if isinstance(value, str) else value, given.place)
    return value


def _check_number(value: float, may_be_zero: bool, given: Given) -> None:
    if value < 0 or (value == 0 and not may_be_zero):
        least = "at least" if may_be_zero else "above"
        raise ConfigError(f"{given.place}: must be {least} 0, not {given.text!r}.")


def _address(name: str, given: Given) -> str:
    """An address with its port."""
    if given.text.startswith("unix:/"):
        return given.text
    match = _ADDRESS.fullmatch(given.text)
    if match is None or (match[3] and not 0 < int(match[3][1:]) <= 65535):
        forms = "http://HOST[:PORT], https://HOST[:PORT] or unix:/PATH"
        raise ConfigError(f"{given.place}: must be {forms}, not {given.text!r}.")
    scheme = match[1].lower()
    return f"{scheme}://{match[2]}{match[3] or f':{_PORTS[name, scheme]}'}"


def _check_expressions(expressions: tuple[str, ...], place: str) -> None:
    for each in expressions:
        try:
            re.compile(each)
        except re.error as error:
            raise ConfigError(f"{place}: {each!r} is no regular expression: {error}.") from None


def check_together(config: Config) -> list[str]:
    """Refuses what does not fit together or is not there; returns warnings."""
    if bool(config.private_key_file) != bool(config.certificate_file):
        raise ConfigError("private_key_file and certificate_file belong together: give both.")
    if config.log_config is not None and not config.log_config.is_file():
        raise ConfigError(f"The log configuration {config.log_config} does not exist.")
    if shutil.which(config.python) is None:
        raise ConfigError(f"python: {config.python} is no program.")
    inference, management = map(urlsplit, (config.inference_address, config.management_address))
    if inference.netloc and inference.netloc == management.netloc and inference != management:
        raise ConfigError("inference_address and management_address: one port, two protocols.")
    if config.model_store is not None and not config.model_store.is_dir():
        return [f"The model store {config.model_store} is no folder."]
    return []
