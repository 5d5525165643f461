"""Every setting of the model server, with its unit, its default and what happens at its limit.

The names are Multi Model Server's properties where it has them; times are seconds and say so.
`resolve.py` makes a Config out of files, command lines and environments.
"""
# ruff: noqa: RUF009  (setting and computed make fields)

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeVar

MIB = 1024 * 1024
Value = TypeVar("Value")


class ConfigError(ValueError):
    """A value that cannot be used. The text names the place it came from and what to write."""


def setting(default: Value, doc: str, *, section: str = "", name: str = "") -> Value:
    """A field with its documentation; the first one of a section names that.

    `name` is the property's, where it is not the field's own.
    """
    return field(default=default, metadata={"doc": doc, "section": section, "name": name})


def computed(default: Callable[[], Value], doc: str) -> Value:
    """A setting whose default is made for each Config."""
    return field(default_factory=default, metadata={"doc": doc, "section": "", "name": ""})


def cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Config:
    """One resolved configuration."""

    inference_address: str = setting(
        "http://127.0.0.1:8080",
        "`http://`, `https://` or `unix:/path`; without a port 80, or 443",
        section="Multi Model Server's own",
    )
    management_address: str = setting(
        "http://127.0.0.1:8081",
        "the same as the other: one port; without a port 8081, or 8444",
    )
    model_store: Path | None = setting(None, "the folder that models are named relative to")
    load_models: str = setting(
        "", "at start-up: `ALL` in the store, or `name` and `name=url`, with commas between them"
    )
    models: tuple[tuple[str, str], ...] = ()  # --models: (name or "", url)
    default_workers_per_model: int = computed(cpus, "0: as many as GPUs, else as CPUs")
    default_service_handler: str = setting("", "for models whose manifest names none")
    default_response_timeout_s: float = setting(
        120.0,
        "seconds, then the worker is replaced; `default_response_timeout_seconds` wins over it",
        name="default_response_timeout",
    )
    unregister_model_timeout_s: float = setting(
        120.0,
        "seconds that requests get when their model is unregistered; then 408",
        name="unregister_model_timeout",
    )
    job_queue_size: int = setting(100, "requests waiting for one model; more: 503")
    number_of_gpu: int = setting(0, "GPUs used, at most those there are; unset: all")
    max_request_size: int = setting(6_553_500, "bytes; more: 413")
    max_response_size: int = setting(6_553_500, "bytes; more: 500")
    preload_model: bool = setting(False, "load once, fork the workers from that: shared memory")
    decode_input_request: bool = setting(True, "JSON bodies as objects, `text/*` as str")
    blacklist_env_vars: str = setting("", "regular expression: variables that workers do not see")
    cors_allowed_origin: str = setting("", "`*` or an origin; unset: no CORS")
    cors_allowed_methods: str = setting("", "for preflight requests, with commas between them")
    cors_allowed_headers: str = setting("", "for preflight requests, with commas between them")
    keystore: Path | None = setting(None, "for https: key and certificates, a PKCS12 file")
    keystore_pass: str = setting("changeit", "its password")
    keystore_type: str = setting("PKCS12", "no other type can be read")
    private_key_file: Path | None = setting(None, "for https: PEM, with `certificate_file`")
    certificate_file: Path | None = setting(None, "for https: PEM, the server's own first")
    metric_time_interval_s: float = setting(
        60.0, "seconds between two looks at the host", name="metric_time_interval"
    )
    async_logging: bool = setting(True, "lines are written every 100 ms; otherwise each at once")
    debug: bool = setting(False, "one worker per model, and the log at level debug")
    log_config: Path | None = setting(None, "a log4j2.xml; `--log-config` wins over it")
    log_location: Path = computed(
        lambda: Path("logs"), "folder of the logs; the variable LOG_LOCATION wins over it"
    )
    metrics_location: Path = computed(
        lambda: Path("logs"), "folder of the metrics; METRICS_LOCATION wins over it"
    )

    multi_model: bool = setting(
        False,
        "the platform owns the set of models; true where SAGEMAKER_MULTI_MODEL is",
        section="Ours",
    )
    allowed_urls: tuple[str, ...] = setting(
        (), "regular expressions with commas between them; no other remote URL is loaded"
    )
    download_timeout_s: float = setting(300.0, "seconds for one artifact; then it fails")
    download_bytes_max: int = setting(20 * 1024 * MIB, "of one artifact; more: it fails")
    load_timeout_s: float = setting(350.0, "seconds for one worker; then the load fails")
    loads_max: int = computed(lambda: max(2, cpus()), "loads at once; more wait")
    memory_limit_bytes: int = setting(
        0, "for all models; 0: what the container or the machine has left"
    )
    drain_timeout_s: float = setting(25.0, "seconds that SIGTERM leaves to requests under way")
    models_max: int = setting(100_000, "registered models; more: 507")
    restart_delay_max_s: float = setting(30.0, "longest pause before a dead worker is replaced")
    python: Path = computed(lambda: Path(sys.executable), "the interpreter that runs handlers")
    work_folder: Path | None = setting(
        None, "unpacked archives and environments; unset: a temporary folder"
    )

    warnings: tuple[str, ...] = ()  # what the log is to say about the configuration at start


def documentation() -> dict[str, tuple[str, str, str]]:
    """field -> (property, section, text) of every setting that is a property, in their order."""
    found: dict[str, tuple[str, str, str]] = {}
    section = ""
    for each in fields(Config):
        if "doc" in each.metadata:
            section = each.metadata["section"] or section
            name = each.metadata["name"] or each.name
            found[each.name] = (name, section, each.metadata["doc"])
    return found
